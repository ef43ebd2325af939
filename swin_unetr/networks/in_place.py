"""What follows the convolutions in inference on the CPU: in place, and a cacheful of voxels at a time.

A map of full resolution (170 MB for a window of 96 voxels cubed and 48 channels) takes longer to be written to fresh
memory, which the system has to clear page by page, than to be computed with. Here each map is read once for the
statistics of its norm and once for everything that is then done to it, and nothing is allocated but what a convolution
gives. Maps are channels-last, so that the voxels of a map are the rows of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5
NEGATIVE_SLOPE = 0.01

#: Values that are worked on at a time by one thread: they stay in its cache, and short sums keep float32 exact.
_BLOCK_VALUES = 1 << 16


def works_in_place(features: Tensor) -> bool:
    """Whether nothing stands in the way: inference on the CPU, and nobody who takes down what is done."""
    return features.device.type == "cpu" and not torch.is_grad_enabled() and not is_watched()


def is_watched() -> bool:
    """Whether a compiler or a tracer takes down what is done."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]


def normalise_(features: Tensor) -> Tensor:
    """Instance norm and leaky ReLU, in place.

    Args:
        features: B x C x X x Y x Z, channels-last.

    Returns:
        The same tensor.
    """
    for rows in _rows_of_samples(features):
        scale, shift = _affine(rows, None)
        for block in _blocks(rows):
            _activate(torch.addcmul(shift, block.to(shift.dtype), scale), block)
    return features


def finish_(features: Tensor, before: Tensor, shortcut: Tensor | None, out: Tensor | None = None) -> Tensor:
    """End a residual block: instance norm, plus the residual, and leaky ReLU.

    Args:
        features: what the second convolution gave, B x C x X x Y x Z, channels-last; overwritten unless there is `out`.
        before: the input of the block, B x D x X x Y x Z, channels-last.
        shortcut: C x D, the convolution on the way of the residual, which has an instance norm of its own; none where
            the input is the residual. What it gives is computed twice rather than kept.
        out: where to put the result, B x C x X x Y x Z with the channels beside one another.

    Returns:
        `out`, or `features`.
    """
    out = features if out is None else out
    samples = zip(_rows_of_samples(features), _rows_of_samples(before), _rows_of_samples(out), strict=True)
    for rows, residual, result in samples:
        scale, shift = _affine(rows, None)
        weight = None
        if shortcut is not None:
            weight = shortcut.t().to(residual.dtype)
            factor, constant = _affine(residual, weight)
            shift = shift + constant
        size = max(rows.shape[1], residual.shape[1])
        for block, other, target in zip(
            _blocks(rows, size), _blocks(residual, size), _blocks(result, size), strict=True
        ):
            values = torch.addcmul(shift, block.to(shift.dtype), scale)
            if weight is None:
                values.add_(other)
            else:
                values.addcmul_((other @ weight).to(values.dtype), factor)
            _activate(values, target)
    return out


def upsample_into(transposed: nn.ConvTranspose3d, coarse: Tensor, out: Tensor) -> None:
    """A transposed convolution whose stride is its kernel: for each voxel, a product that gives all finer ones.

    Args:
        transposed: the convolution, without bias.
        coarse: B x C x X x Y x Z, channels-last.
        out: B x D x X*sx x Y*sy x Z*sz with the channels beside one another; overwritten.
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


def _rows_of_samples(features: Tensor) -> list[Tensor]:
    """Voxels x channels of each sample, views."""
    return [sample.permute(1, 2, 3, 0).view(-1, len(sample)) for sample in features]


def _blocks(rows: Tensor, width: int | None = None) -> Iterator[Tensor]:
    size = max(torch.get_num_threads() * _BLOCK_VALUES // (width or rows.shape[1]), 1)
    return iter(torch.split(rows, size))


def _affine(rows: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Factor and constant of the instance norm of voxels x channels, or of what a product with `weight` makes of them.

    Sums are taken of what is left after the mean of the first block: a mean far from 0 would cost the difference of
    squares its digits.
    """
    accurate = torch.float64 if rows.dtype == torch.float64 else torch.float32
    near: Tensor | None = None
    for block in _blocks(rows):
        values = (block if weight is None else block @ weight).to(accurate)
        if near is None:
            near = values.mean(0)
            total, squares = (torch.zeros_like(near, dtype=torch.float64) for _ in range(2))
        values = values - near
        total += values.sum(0)
        squares += values.square_().sum(0)
    assert near is not None
    mean = total / len(rows)
    scale = (squares / len(rows) - mean.square() + EPS).rsqrt()
    return scale.to(accurate), (-(near + mean) * scale).to(accurate)


def _activate(values: Tensor, target: Tensor) -> None:
    target.copy_(F.leaky_relu_(values, NEGATIVE_SLOPE))
