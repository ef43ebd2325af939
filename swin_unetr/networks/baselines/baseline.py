"""The class of all baselines: to the rest of the code, a network with a `NetworkConfig`."""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor, nn

from swin_unetr.config import NetworkConfig

#: If the coarsest map has fewer voxels than this along an axis, its convolutions are not run in bfloat16.
_THIN = 3


class BaselineNetwork(nn.Module):
    """A network of another project. Its weights keep their names there, after "network.".

    Args:
        config: `architecture` names it, `baselines` holds its options.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        module = import_module(f"{__package__}.{config.architecture}")  # imports only the library that is needed
        self.network: nn.Module = module.build(config.baseline, config.in_channels, config.num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Segment an image.

        Args:
            image: B x in_channels x X x Y x Z; each axis a multiple of `config.size_divisor`.

        Returns:
            Logits, B x num_classes x X x Y x Z.

        Raises:
            ValueError: the image does not suit the network.
        """
        size, divisor = image.shape[2:], self.config.size_divisor
        if any(extent % step for extent, step in zip(size, divisor, strict=True)):
            raise ValueError(f"image of {tuple(size)} voxels: each axis must be a multiple of {divisor}")
        thinnest = min(extent // step for extent, step in zip(size, divisor, strict=True))
        if image.device.type == "cpu" and thinnest < _THIN and torch.is_autocast_enabled("cpu"):
            # oneDNN's gradients of thin bfloat16 maps read uninitialised memory; see `conv_decoder.convolve`.
            with torch.autocast("cpu", enabled=False):
                exact: Tensor = self.network(image.float())
            return exact
        logits: Tensor = self.network(image)
        return logits
