"""Masked image modelling: what is under the masked cubes? After SimMIM (2111.09886)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.losses import l1_where
from pretrain.proxies.config import MaskedConfig
from pretrain.proxies.proxy import Judged, Proxy
from pretrain.views import Views, uniform
from swin_unetr.config import NetworkConfig, Triple
from swin_unetr.networks import SwinEncoder


def random_cubes(count: int, grid: Triple, share: float, generator: torch.Generator) -> Tensor:
    """Choose the same number of cubes in each sample, at random.

    Args:
        count: samples.
        grid: cubes along X, Y, Z.
        share: of the cubes, rounded to whole ones; at least one is masked and one left.
        generator: source of the random numbers; the masks are on its device.

    Returns:
        count x X x Y x Z, bool.
    """
    cubes = math.prod(grid)
    number = min(max(1, round(share * cubes)), cubes - 1)
    order = uniform((count, cubes), generator).argsort(1).argsort(1)
    return (order < number).view(count, *grid)


def enlarged(mask: Tensor, factors: Triple, size: Triple) -> Tensor:
    """Repeat each element of N x X x Y x Z along the axes, and cut what exceeds a size."""
    for axis, factor in enumerate(factors, start=1):
        mask = mask.repeat_interleave(factor, axis)
    return mask[:, : size[0], : size[1], : size[2]]


@contextmanager
def masked_tokens(encoder: SwinEncoder, mask: Tensor | None, token: Tensor | None) -> Iterator[None]:
    """Within the block, the encoder sees a learnt token in place of the masked ones.

    Args:
        encoder: its patch embedding gets a hook within the block.
        mask: N x x x y x z, tokens of the patch embedding. If None, nothing changes.
        token: the learnt token, one value for each channel.
    """
    if mask is None or token is None:
        yield
        return

    def put(module: nn.Module, inputs: Any, tokens: Tensor) -> Tensor:
        return torch.where(mask[..., None], token.to(tokens.dtype), tokens)

    handle = encoder.patch_embedding.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


class MaskedCubes(Proxy):
    """Masks cubes at the patch embedding and compares the prediction of their voxels; a subclass predicts them.

    Args:
        config: cubes and share.
        network: shape of the encoder.
        head: the layer that predicts.
    """

    def __init__(self, config: MaskedConfig, network: NetworkConfig, head: nn.Conv3d) -> None:
        super().__init__(config, network)
        self._config, self._patch = config, network.patch_size
        self.head = head
        self.token = nn.Parameter(torch.empty(network.feature_size).normal_(std=0.02))

    def view(self, views: Views, generator: torch.Generator) -> Views:
        """Mask cubes of tokens; the voxels stay, but end at the patch embedding."""
        size, cube = views.seen.shape[2:], self._config.cube
        x, y, z = (math.ceil(extent / cube) for extent in size)
        cubes = random_cubes(len(views.seen), (x, y, z), self._config.share, generator)
        px, py, pz = self._patch
        tokens = (size[0] // px, size[1] // py, size[2] // pz)
        return views.with_notes(masked=enlarged(cubes, (cube // px, cube // py, cube // pz), tokens))

    def around(self, encoder: SwinEncoder, views: Views) -> AbstractContextManager[None]:
        """The context in which the encoder sees the learnt token where the views are masked."""
        return masked_tokens(encoder, views.notes.get("masked"), self.token)

    def judge(self, output: Tensor, views: Views) -> Judged:
        """L1 over the masked voxels."""
        masked = views.notes["masked"]
        x, y, z = views.whole.shape[2:]
        mask = enlarged(masked, self._patch, (x, y, z))[:, None]
        hidden = views.seen[:1].masked_fill(mask[:1], 0.0)
        return Judged(loss=l1_where(output, views.whole, mask), picture=(views.whole[:1], hidden, output[:1]))


class Masked(MaskedCubes):
    """Predicts the masked voxels with one linear layer from the bottleneck.

    Args:
        config: cubes and share.
        network: shape of the encoder.
    """

    def __init__(self, config: MaskedConfig, network: NetworkConfig) -> None:
        divisor = network.size_divisor
        super().__init__(config, network, nn.Conv3d(network.deepest_width, network.in_channels * math.prod(divisor), 1))
        self._divisor = divisor

    def forward(self, features: Tensor) -> Tensor:
        """N x C x X x Y x Z: every token of the bottleneck predicts all its voxels."""
        voxels: Tensor = self.head(features)
        count, (x, y, z), (a, b, c) = len(features), features.shape[2:], self._divisor
        voxels = voxels.view(count, -1, a, b, c, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return voxels.reshape(count, -1, x * a, y * b, z * c)
