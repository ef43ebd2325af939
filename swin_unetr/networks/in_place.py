"""Norms and activations after the convolutions on the CPU: in place, in blocks of voxels that fit into the cache.

Writing a map of full resolution (170 MB for a window of 96 voxels cubed and 48 channels) to new memory, which the
system has to clear page by page, takes longer than computing it. Here each map is read once for the statistics of its
norm and once for everything else, and only the outputs of convolutions are allocated. The voxels of a map are the rows
of a matrix; in inference maps are channels-last, so that rows are contiguous. What training adds is in fused_norm.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin_unetr.networks.instance_norm import EPS

NEGATIVE_SLOPE = 0.01

#: Values that one thread works on at a time: they stay in its cache, and short sums keep float32 exact.
_BLOCK_VALUES = 1 << 16
#: Rows that are added up separately.
_ROWS = 16


def works_in_place(features: Tensor) -> bool:
    """Whether this module can be used: inference on the CPU, without a compiler or tracer."""
    return features.device.type == "cpu" and not torch.is_grad_enabled() and not is_traced()


def is_traced() -> bool:
    """Whether a compiler or a tracer records the operations."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]


def normalise_(features: Tensor) -> Tensor:
    """Instance norm and leaky ReLU, in place.

    Args:
        features: B x C x X x Y x Z, channels-last or contiguous.

    Returns:
        B x C, the factors of the norm: one over the deviation.
    """
    factors = []
    for rows in rows_of_samples(features):
        scale, shift = _affine(rows, None)
        for block in blocks_of(rows):
            _activate(torch.addcmul(shift, block.to(shift.dtype), scale), block)
        factors.append(scale)
    return torch.stack(factors)


def finish_(features: Tensor, before: Tensor, shortcut: Tensor | None, out: Tensor | None = None) -> Tensor:
    """End a residual block: instance norm, plus the residual, and leaky ReLU.

    Args:
        features: output of the second convolution, B x C x X x Y x Z, channels-last or contiguous; overwritten unless
            `out` is given.
        before: the input of the block, B x D x X x Y x Z, channels-last or contiguous.
        shortcut: C x D, the convolution of the residual, which has an instance norm of its own; its output is computed
            twice rather than kept. If None, the input is the residual.
        out: takes the result, B x C x X x Y x Z with contiguous channels. If None, `features` takes it.

    Returns:
        B x 3 x C: factors of the norm, and factors and constants of the shortcut's norm (1 and 0 without a shortcut).
    """
    found = []
    out = features if out is None else out
    for rows, residual, result in zip(*map(rows_of_samples, (features, before, out)), strict=True):
        scale, shift = _affine(rows, None)
        factor, constant = torch.ones_like(scale), torch.zeros_like(scale)
        weight = None
        if shortcut is not None:
            weight = shortcut.t().to(residual.dtype)
            factor, constant = _affine(residual, weight)
            shift = shift + constant
        found.append(torch.stack((scale, factor, constant)))
        for block, other, target in together(rows, residual, result):
            values = torch.addcmul(shift, block.to(shift.dtype), scale)
            if weight is None:
                values.add_(other)
            else:
                values.addcmul_((other @ weight).to(values.dtype), factor)
            _activate(values, target)
    return torch.stack(found)


def upsample_into(transposed: nn.ConvTranspose3d, coarse: Tensor, out: Tensor) -> None:
    """A transposed convolution whose stride is its kernel: for each voxel, a product that gives all finer ones.

    Args:
        transposed: the convolution, without bias.
        coarse: B x C x X x Y x Z, channels-last.
        out: B x D x X*sx x Y*sy x Z*sz with contiguous channels; overwritten.
    """
    tokens = coarse.permute(0, 2, 3, 4, 1)
    channels, stride = out.shape[1], transposed.stride
    weight = transposed.weight.permute(0, 2, 3, 4, 1).flatten(1).to(tokens.dtype)
    fine = out.permute(0, 2, 3, 4, 1)
    for sample, target in zip(tokens, fine, strict=True):
        for x, plane in enumerate(sample):
            y, z = plane.shape[:2]
            split = (plane.flatten(0, 1) @ weight).view(y, z, *stride, channels).permute(2, 0, 3, 1, 4, 5)
            thick = target[x * stride[0] : (x + 1) * stride[0]]
            thick.unflatten(2, (z, stride[2])).unflatten(1, (y, stride[1])).copy_(split)


def rows_of_samples(features: Tensor) -> list[Tensor]:
    """Voxels x channels of each sample, views; the map is channels-last or contiguous."""
    return [sample.permute(1, 2, 3, 0).view(-1, len(sample)) for sample in features]


def blocks_of(rows: Tensor, width: int | None = None) -> tuple[Tensor, ...]:
    """Blocks of rows that fit into the cache, as if there were `width` channels."""
    size = torch.get_num_threads() * _BLOCK_VALUES // (width or rows.shape[1])
    return torch.split(rows, max(size // _ROWS, 1) * _ROWS)


def together(*maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of several maps at a time, in blocks that fit into the cache for the widest map."""
    width = max(rows.shape[1] for rows in maps)
    return zip(*(blocks_of(rows, width) for rows in maps), strict=True)


def moments(blocks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over all rows of blocks, float64.

    It uses torch's batch norm, which gives each thread its own rows, as all elementwise operators do. If threads divide
    the channels instead, as `sum` does, cache lines move between cores, which takes ten times as long. Batch norm adds
    up row by row in float32. To keep this exact, several rows are joined into one with more channels, and the mean of
    the first block is subtracted before.
    """
    near: Tensor | None = None
    weights: list[int] = []
    means: list[Tensor] = []
    variances: list[Tensor] = []
    for block in blocks:
        if near is None:
            near = torch.batch_norm_update_stats(block, None, None, 0.0)[0]
        joined = _ROWS if len(block) % _ROWS == 0 else 1
        wide = (block - near).reshape(-1, joined * block.shape[1])
        weights += joined * [len(wide)]
        for kept, each in zip((means, variances), torch.batch_norm_update_stats(wide, None, None, 0.0), strict=True):
            kept.append(each.view(joined, -1).double())
    assert near is not None
    share = torch.tensor(weights, dtype=torch.float64)[:, None] / sum(weights)
    away, inside = torch.cat(means), torch.cat(variances)
    mean = (share * away).sum(0)
    return near + mean, (share * (inside + (away - mean).square())).sum(0)


def _affine(rows: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Factor and constant of the instance norm of voxels x channels, or of its product with `weight`."""
    accurate = torch.promote_types(rows.dtype, torch.float32)
    mean, variance = moments((block if weight is None else block @ weight).to(accurate) for block in blocks_of(rows))
    scale = (variance + EPS).rsqrt()
    return scale.to(accurate), (-mean * scale).to(accurate)


def _activate(values: Tensor, target: Tensor) -> None:
    target.copy_(F.leaky_relu_(values, NEGATIVE_SLOPE))
