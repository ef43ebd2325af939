"""Instance normalisation without parameters, for both memory layouts of a feature map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

EPS = 1e-5

#: Values of a map that are summed at a time: they stay in the cache, and short sums keep float32 exact.
_BLOCK_VALUES = 1 << 17


def instance_norm(features: Tensor, *, keep_layout: bool = True) -> Tensor:
    """Normalise each channel of each sample over its voxels, without parameters.

    A map of one voxel, which small volumes have at the bottleneck, is what `F.instance_norm` refuses. There the mean
    is the value itself, and the result 0: the residual connection carries the voxel on.

    Args:
        features: B x C x X x Y x Z.
        keep_layout: on the CPU, give a channels-last map as one; else torch decides, and gives a contiguous map.

    Returns:
        The same shape.
    """
    if keep_layout and _is_channels_last(features):
        apply: Callable[[Tensor], Tensor] = _NormaliseSample.apply
        if len(features) == 1:
            return apply(features)
        return torch.cat([apply(features[index : index + 1]) for index in range(len(features))])
    return torch.instance_norm(features, None, None, None, None, True, 0.0, EPS, torch.backends.cudnn.enabled)


def _is_channels_last(features: Tensor) -> bool:
    return (
        features.device.type == "cpu"
        and features.shape[1] > 1
        and not features.is_contiguous()
        and features.is_contiguous(memory_format=torch.channels_last_3d)
        and not torch.compiler.is_compiling()
    )


class _NormaliseSample(torch.autograd.Function):
    """Instance norm of one channels-last sample, as batch norm over a batch of one.

    torch's own instance norm copies such a map to the other layout, and, with torch 2.13, its gradient is wrong when
    the gradient that reaches it is channels-last and the map is not. Its batch norm takes the layout as it is, but adds
    up all voxels one by one in float32: 1e-4 off at 64 voxels cubed. So the statistics are ours, in blocks.
    """

    @staticmethod
    def forward(ctx: Any, sample: Tensor) -> Tensor:
        mean, variance = _statistics(sample)
        ctx.save_for_backward(sample, mean, (variance + EPS).rsqrt())
        normalised: Tensor = torch.native_batch_norm(sample, None, None, mean, variance, False, 0.0, EPS)[0]
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        sample, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        result: Tensor = torch.ops.aten.native_batch_norm_backward(
            gradient, sample, None, None, None, mean, scale, True, EPS, [True, False, False]
        )[0]
        return result


@torch.library.custom_op("swin_unetr::channel_statistics", mutates_args=())
def _statistics(sample: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of a map 1 x C x X x Y x Z, float32 or float64.

    One operator, so that who goes through a network with fake tensors is spared its hundreds of blocks.
    """
    accurate = torch.float64 if sample.dtype == torch.float64 else torch.float32
    rows = sample.permute(0, 2, 3, 4, 1).flatten(0, 3)  # voxels x C
    blocks = torch.split(rows, max(_BLOCK_VALUES // rows.shape[1], 1))
    near = blocks[0].mean(0, dtype=accurate)  # what is far from 0 would lose its variance in the difference of squares
    total, squares = torch.zeros_like(near, dtype=torch.float64), torch.zeros_like(near, dtype=torch.float64)
    for block in blocks:
        away = block - near
        total += away.sum(0)
        squares += away.square_().sum(0)
    mean = total / len(rows)
    return (near + mean).to(accurate), (squares / len(rows) - mean.square()).to(accurate)


@_statistics.register_fake
def _(sample: Tensor) -> tuple[Tensor, Tensor]:
    made = sample.new_empty(sample.shape[1], dtype=torch.promote_types(sample.dtype, torch.float32))
    return made, torch.empty_like(made)
