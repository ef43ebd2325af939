"""Norm, residual and activation of a residual block in training on the CPU: in place, without keeping maps for them.

Leaky ReLU can be inverted, and the gradient of an instance norm without weights follows from its output (the idea of
in-place activated batch norm, 1712.02616). So the gradients here need a few numbers for each channel and three maps
that the convolutions keep anyway: the input of the block, the input of the next convolution, and the result. The
outputs of the convolutions are overwritten. The shortcut, a product of matrices, is computed again rather than kept. As
in in_place.py, which does the forward pass, maps are processed in blocks of voxels that fit into the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from swin_unetr.networks.in_place import NEGATIVE_SLOPE, finish_, is_traced, normalise_, rows_of_samples, together


def works_fused(features: Tensor) -> bool:
    """Whether the functions of this module can be used: on the CPU, without a compiler or tracer.

    They cannot be used for maps of one voxel, whose norm is 0 and has no gradient: here both would be rounding errors.
    """
    return features.device.type == "cpu" and features[0, 0].numel() > 1 and not is_traced()


def normalise(features: Tensor) -> Tensor:
    """Instance norm and leaky ReLU, in place.

    Args:
        features: B x C x X x Y x Z, channels-last or contiguous; overwritten.

    Returns:
        The same tensor. Its gradient can be taken once, not twice.
    """
    result: Tensor = _Normalise.apply(features)  # type: ignore[no-untyped-call]
    return result


def finish(features: Tensor, before: Tensor, shortcut: Tensor | None) -> Tensor:
    """End a residual block, in place: instance norm, plus the residual, and leaky ReLU.

    Args:
        features: output of the second convolution, B x C x X x Y x Z, channels-last or contiguous; overwritten.
        before: the input of the block, B x D x X x Y x Z, channels-last or contiguous.
        shortcut: C x D, the convolution of the residual, which has an instance norm of its own. If None, the input is
            the residual.

    Returns:
        `features`. Its gradient can be taken once, not twice.
    """
    result: Tensor = _Finish.apply(features, before, shortcut)  # type: ignore[no-untyped-call]
    return result


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        factors = _normalise(features)
        ctx.mark_dirty(features)
        ctx.save_for_backward(features, factors)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        found: Tensor = _normalise_backward(gradient, *ctx.saved_tensors)
        return found


class _Finish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, before: Tensor, shortcut: Tensor | None) -> Tensor:
        numbers = _finish(features, before, shortcut)
        ctx.mark_dirty(features)
        ctx.save_for_backward(features, before, shortcut, numbers)
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        wanted = ctx.needs_input_grad[1]
        with torch.autocast("cpu", enabled=False):
            found, of_before, of_shortcut = _finish_backward(gradient, *ctx.saved_tensors, wanted)
        return found, of_before if wanted else None, of_shortcut if ctx.needs_input_grad[2] else None


# Each is one operator, so that a pass with fake tensors does not go through the hundreds of blocks of a map.


@torch.library.custom_op("swin_unetr::normalise", mutates_args=("features",))
def _normalise(features: Tensor) -> Tensor:
    """`in_place.normalise_`."""
    return normalise_(features)


@_normalise.register_fake
def _(features: Tensor) -> Tensor:
    return features.new_empty(features.shape[:2], dtype=_accurate(features))


@torch.library.custom_op("swin_unetr::normalise_backward", mutates_args=())
def _normalise_backward(gradient: Tensor, result: Tensor, factors: Tensor) -> Tensor:
    """Gradient of the input of the norm, from the result and the factors of the norm (B x C)."""
    found = torch.empty_like(result)
    samples = zip(*map(rows_of_samples, (_like(gradient, result), result, found)), factors, strict=True)
    for given, after, target, factor in samples:
        sums = _Sums(factor)
        for block, activated, part in together(given, after, target):
            inner = _before_activation(block, activated, factor.dtype)
            sums.add(inner, _leaky_relu_input(activated, factor.dtype))
            part.copy_(inner)
        mean, slope = sums.coefficients()
        for activated, part in together(after, target):
            normalised = torch.addcmul(mean, _leaky_relu_input(activated, factor.dtype), slope)
            torch.addcmul(normalised, part.to(factor.dtype), factor, out=part)
    return found


@_normalise_backward.register_fake
def _(gradient: Tensor, result: Tensor, factors: Tensor) -> Tensor:
    return torch.empty_like(result)


@torch.library.custom_op("swin_unetr::finish", mutates_args=("features",))
def _finish(features: Tensor, before: Tensor, shortcut: Tensor | None) -> Tensor:
    """`in_place.finish_`."""
    with torch.autocast("cpu", enabled=False):
        return finish_(features, before, shortcut)


@_finish.register_fake
def _(features: Tensor, before: Tensor, shortcut: Tensor | None) -> Tensor:
    return features.new_empty((len(features), 3, features.shape[1]), dtype=_accurate(features))


@torch.library.custom_op("swin_unetr::finish_backward", mutates_args=())
def _finish_backward(
    gradient: Tensor, result: Tensor, before: Tensor, shortcut: Tensor | None, numbers: Tensor, wanted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the second convolution's output, of the block's input, if `wanted`, and of the shortcut.

    `numbers` are those that `finish_` returned, B x 3 x C.
    """
    found = torch.empty_like(result)
    of_before = torch.empty_like(before if wanted else numbers[:0])
    of_shortcut = numbers.new_zeros((0, 0) if shortcut is None else shortcut.shape)
    weight = None if shortcut is None else shortcut.t().to(before.dtype)
    maps = (_like(gradient, result), result, before, found, of_before if wanted else before)
    for given, after, residual, target, of_residual, (scale, factor, constant) in zip(
        *map(rows_of_samples, maps), numbers, strict=True
    ):
        sums, of_other = _Sums(scale), _Sums(factor)
        for block, activated, other, part in together(given, after, residual, target):
            inner = _before_activation(block, activated, scale.dtype)
            added = _residual(other, weight, factor, constant)
            sums.add(inner, _leaky_relu_input(activated, scale.dtype).sub_(added))
            if weight is not None:
                of_other.add(inner, added)
            part.copy_(inner)
        mean, slope = sums.coefficients()
        if weight is not None:
            other_mean, other_slope = of_other.coefficients()
        for activated, other, part, of_part in together(after, residual, target, of_residual):
            inner, added = part.to(scale.dtype), _residual(other, weight, factor, constant)
            normalised = torch.addcmul(mean, _leaky_relu_input(activated, scale.dtype).sub_(added), slope)
            if weight is None:
                if wanted:
                    of_part.copy_(inner)
            else:
                added = torch.addcmul(other_mean, added, other_slope).addcmul_(inner, factor).to(other.dtype)
                of_shortcut += added.t() @ other
                if wanted:
                    torch.mm(added, weight.t(), out=of_part)
            torch.addcmul(normalised, inner, scale, out=part)
    return found, of_before, of_shortcut


@_finish_backward.register_fake
def _(
    gradient: Tensor, result: Tensor, before: Tensor, shortcut: Tensor | None, numbers: Tensor, wanted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    of_shortcut = numbers.new_empty((0, 0) if shortcut is None else shortcut.shape)
    return torch.empty_like(result), torch.empty_like(before if wanted else numbers[:0]), of_shortcut


class _Sums:
    """Sums over all voxels that the gradient of an instance norm needs."""

    def __init__(self, factor: Tensor) -> None:
        self._factor, self._voxels = factor, 0
        self._neutral = torch.zeros_like(factor), torch.ones_like(factor)
        self._plain, self._weighted = torch.zeros((2, len(factor)), dtype=torch.float64)

    def add(self, gradient: Tensor, normalised: Tensor) -> None:
        """Add a block, with torch's batch norm for the reason given in `in_place.moments`."""
        _, weighted, plain = torch.ops.aten.native_batch_norm_backward(
            gradient, normalised, self._neutral[1], None, None, *self._neutral, True, 0.0, [False, True, True]
        )
        self._plain += plain
        self._weighted += weighted
        self._voxels += len(gradient)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """What is added to factor * gradient: a constant, and the coefficient of the normalised values."""
        mean, slope = (-each / self._voxels * self._factor for each in (self._plain, self._weighted))
        return mean.to(self._factor.dtype), slope.to(self._factor.dtype)


def _before_activation(gradient: Tensor, result: Tensor, accurate: torch.dtype) -> Tensor:
    """Gradient of the input of a leaky ReLU."""
    inner: Tensor = torch.ops.aten.leaky_relu_backward(gradient.to(accurate), result.to(accurate), NEGATIVE_SLOPE, True)
    return inner


def _leaky_relu_input(result: Tensor, accurate: torch.dtype) -> Tensor:
    """The input of a leaky ReLU, from its result."""
    return F.leaky_relu(result.to(accurate), 1 / NEGATIVE_SLOPE)


def _residual(other: Tensor, weight: Tensor | None, factor: Tensor, constant: Tensor) -> Tensor:
    return other if weight is None else torch.addcmul(constant, (other @ weight).to(factor.dtype), factor)


def _like(gradient: Tensor, result: Tensor) -> Tensor:
    """The gradient in the layout of the result."""
    return gradient.contiguous(
        memory_format=torch.contiguous_format if result.is_contiguous() else torch.channels_last_3d
    )


def _accurate(features: Tensor) -> torch.dtype:
    return torch.promote_types(features.dtype, torch.float32)
