"""Masked image modelling through the whole network. After SparK (2301.03580) and S3D (2410.23132)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.proxies.config import MaskedConfig
from pretrain.proxies.masked import MaskedCubes, enlarged
from pretrain.views import Views
from swin_unetr.config import NetworkConfig, Triple
from swin_unetr.networks.conv_decoder import pointwise


def covered(mask: Tensor, size: Triple) -> Tensor:
    """The cells of a coarser grid that a mask covers completely.

    Args:
        mask: N x x x y x z, bool.
        size: cells along X, Y, Z; each divides the mask's.

    Returns:
        N x size, bool.
    """
    cell = [extent // cells for extent, cells in zip(mask.shape[1:], size, strict=True)]
    return F.max_pool3d((~mask).float(), cell) == 0


class MaskedNetwork(MaskedCubes):
    """Masks cubes at the patch embedding, at every skip and in the image, and predicts their voxels by the decoder.

    The encoder never sees a masked voxel, as in `MaskedCubes`. On the way to the decoder, every cell of its maps that
    the mask covers completely holds a learnt token, one for each map; so do the masked voxels of the image. They are
    replaced before any block of the decoder, so that no instance norm sees what was there.

    Args:
        config: cubes and share.
        network: shape of the network.
    """

    decodes = True

    def __init__(self, config: MaskedConfig, network: NetworkConfig) -> None:
        width = network.feature_size
        super().__init__(config, network, nn.Conv3d(width, network.in_channels, 1))
        self.image_token = nn.Parameter(torch.zeros(network.in_channels))
        self.map_tokens = nn.ParameterList(
            torch.empty(width * 2**level).normal_(std=0.02) for level in range(len(network.depths) + 1)
        )

    def to_decoder(self, maps: list[Tensor], views: Views) -> tuple[list[Tensor], Tensor]:
        """The maps and the image with the learnt tokens in the masked places."""
        masked, image = views.notes["masked"], views.seen
        x, y, z = image.shape[2:]
        hidden = [
            _put(level, covered(masked, (level.shape[2], level.shape[3], level.shape[4])), token)
            for level, token in zip(maps, self.map_tokens, strict=True)
        ]
        return hidden, _put(image, enlarged(masked, self._patch, (x, y, z)), self.image_token)

    def forward(self, features: Tensor) -> Tensor:
        """N x C x X x Y x Z from N x feature_size x X x Y x Z."""
        return pointwise(self.head, features)


def _put(features: Tensor, mask: Tensor, token: Tensor) -> Tensor:
    """A token in the masked places of N x C x X x Y x Z."""
    return torch.where(mask[:, None], token.to(features.dtype).view(1, -1, 1, 1, 1), features)
