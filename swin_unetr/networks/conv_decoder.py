"""The convolutional half: residual blocks on the skips, and upsampling by transposed convolution.

Hatamizadeh et al. (2201.01266), section 3.1: two 3x3x3 convolutions with instance normalisation in each block.
Feature maps are channels-first here: B x C x X x Y x Z.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_unetr.config import MemoryLayout, Triple
from swin_unetr.networks.fused_norm import finish, normalise, works_fused
from swin_unetr.networks.in_place import NEGATIVE_SLOPE, finish_, normalise_, upsample_into, works_in_place
from swin_unetr.networks.instance_norm import instance_norm
from swin_unetr.networks.recomputation import run


def arrange(features: Tensor, layout: MemoryLayout) -> Tensor:
    """Put a map B x C x X x Y x Z into a memory layout; `best_layout` decides what "auto" means."""
    if layout == "unchanged" or torch.compiler.is_compiling():  # the compiler chooses by itself
        return features
    last = best_layout(features, layout) == "channels_last"
    return features.contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


def best_layout(features: Tensor, layout: MemoryLayout) -> MemoryLayout:
    """The layout for "auto" in training: channels-last for float32 on the CPU, else contiguous.

    Channels-last on the CPU, oneDNN's 3x3x3 convolutions of few channels run up to 1.8 times as fast, norms and
    activations work row by row, the encoder's maps have this layout already, and a 1x1x1 convolution is a product of
    matrices. In bfloat16 the convolutions run no faster, and working row by row, in float32, takes a quarter longer
    than torch's norms (16 features, one core; with 48 features there is no difference). On a GPU, torch's instance norm
    would copy a map back.
    """
    if layout != "auto":
        return layout
    exact = not torch.is_autocast_enabled("cpu") and features.dtype != torch.bfloat16
    return "channels_last" if features.device.type == "cpu" and exact else "contiguous"


def pointwise(convolution: nn.Conv3d, features: Tensor) -> Tensor:
    """Apply a 1x1x1 convolution. For a channels-last map on the CPU, a product of matrices is several times as fast."""
    if features.device.type == "cpu" and not features.is_contiguous() and not torch.compiler.is_compiling():
        tokens = features.permute(0, 2, 3, 4, 1)
        return F.linear(tokens, convolution.weight.flatten(1), convolution.bias).permute(0, 4, 1, 2, 3)
    result: Tensor = convolution(features)
    return result


def convolve(convolution: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Apply a 3x3x3 convolution; under bfloat16 autocast on the CPU, to a map thinner than the kernel in float32.

    oneDNN's gradient of the weights for bfloat16 maps that are two voxels thick reads uninitialised memory (seen with
    torch 2.13 on AVX-512: a third of the gradients not finite). Such maps lie at the bottleneck and take little time.

    Args:
        convolution: a 3x3x3 one, with padding 1.
        features: B x C x X x Y x Z.

    Returns:
        B x out_channels x X x Y x Z.
    """
    if features.device.type == "cpu" and min(features.shape[2:]) < 3 and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            exact: Tensor = convolution(features.float())
            return exact
    result: Tensor = convolution(features)
    return result


class Convolution(nn.Conv3d):
    """A 3x3x3 convolution with padding 1 that `convolve` computes, for networks that are a sequence of layers."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """B x C x X x Y x Z; see `convolve`."""
        return convolve(super().forward, features)


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions with instance norm and leaky ReLU, around a residual connection.

    Args:
        in_channels: channels of the input. If the output has another number, the residual goes through a 1x1x1
            convolution and a norm of its own.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = nn.Conv3d(in_channels, out_channels, 1, bias=False) if in_channels != out_channels else None
        self.layout: MemoryLayout = "auto"
        self.recompute = False

    def forward(self, features: Tensor) -> Tensor:
        """Map B x in_channels x X x Y x Z to B x out_channels x X x Y x Z."""
        return self.infer(features) if self.in_place(features) else run(self._transform, features, again=self.recompute)

    def _transform(self, features: Tensor) -> Tensor:
        if best_layout(features, self.layout) == "channels_last" and works_fused(features):
            return self._transform_fused(features)
        features = arrange(features, self.layout)
        residual = features if self.shortcut is None else instance_norm(pointwise(self.shortcut, features))
        hidden = F.leaky_relu(instance_norm(convolve(self.conv1, features)), NEGATIVE_SLOPE, inplace=True)
        return F.leaky_relu(instance_norm(convolve(self.conv2, hidden)) + residual, NEGATIVE_SLOPE, inplace=True)

    def _transform_fused(self, features: Tensor) -> Tensor:
        """The same on the CPU. Only input, hidden map and result are kept, under autocast in its type."""
        features = arrange(features.to(_kept_type(features)), self.layout)
        hidden = normalise(arrange(convolve(self.conv1, features), self.layout))
        result = arrange(convolve(self.conv2, hidden), self.layout)
        return finish(result, features, None if self.shortcut is None else self.shortcut.weight.flatten(1))

    def in_place(self, features: Tensor) -> bool:
        """Whether `infer` can be used."""
        return self.layout in ("auto", "channels_last") and works_in_place(features)

    def infer(self, features: Tensor, out: Tensor | None = None) -> Tensor:
        """The same in inference on the CPU, with less memory traffic; the result goes to `out` if it is given.

        Under autocast, norms and activations are computed in float32, and maps are kept in autocast's type.
        """
        features = _channels_last(features.to(_kept_type(features)))
        hidden = _channels_last(convolve(self.conv1, features))
        normalise_(hidden)
        hidden = _channels_last(convolve(self.conv2, hidden)).to(features.dtype)
        with torch.autocast("cpu", enabled=False):
            finish_(hidden, features, None if self.shortcut is None else self.shortcut.weight.flatten(1), out)
        return hidden if out is None else out


def _channels_last(features: Tensor) -> Tensor:
    return features.contiguous(memory_format=torch.channels_last_3d)


def _kept_type(features: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else features.dtype


class UpBlock(nn.Module):
    """One step of the decoder: a transposed convolution to upsample, the skip joined, and a residual block.

    Args:
        in_channels: channels of the coarse map.
        out_channels: channels of the skip and of the output.
        stride: voxels of the fine map for one of the coarse, along X, Y, Z.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Triple) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose3d(in_channels, out_channels, stride, stride=stride, bias=False)
        self.block = ResidualBlock(2 * out_channels, out_channels)
        self.recompute = False

    def forward(self, coarse: Tensor, skip: Tensor, through: ResidualBlock | None = None) -> Tensor:
        """Upsample and join.

        Args:
            coarse: B x in_channels x X/sx x Y/sy x Z/sz.
            skip: map of the fine size.
            through: block that the skip passes first. Its output has out_channels; if None, the skip has.

        Returns:
            B x out_channels x X x Y x Z.
        """
        if self.block.in_place(coarse):
            return self._infer(coarse, skip, through)
        skip = skip if through is None else through(skip)
        return run(self._fuse, coarse, skip, again=self.recompute)

    def _fuse(self, coarse: Tensor, skip: Tensor) -> Tensor:
        fused: Tensor = self.block(torch.cat((self.upsample(coarse), skip), dim=1))
        return fused

    def _infer(self, coarse: Tensor, skip: Tensor, through: ResidualBlock | None) -> Tensor:
        """The same in inference on the CPU: both halves are written directly into the joined map."""
        width = self.upsample.out_channels
        joined = coarse.new_empty((len(coarse), *skip.shape[2:], 2 * width), dtype=_kept_type(coarse))
        joined = joined.permute(0, 4, 1, 2, 3)
        with torch.autocast("cpu", enabled=False):
            upsample_into(self.upsample, coarse.to(joined.dtype), joined[:, :width])
        if through is None:
            joined[:, width:].copy_(skip)
        else:
            through.infer(skip, joined[:, width:])
        return self.block.infer(joined)
