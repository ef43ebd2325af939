"""Sums over the processes of a training, so that a batch counts alike whether one holds it or several share it.

Data-parallel training takes the mean of the gradients of all processes. Of a loss that is a mean over equally many
samples that is the gradient of the joined batch; of a ratio of sums it is not, unless the sums are those of all.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many train together; 1 outside a training of several."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, in each of them.

    Args:
        values: of this process; the same shape everywhere. Gradients flow through the sum: that of the mean of all
            processes' losses, which is what data-parallel training steps along, is the gradient of the joined loss.
    """
    if processes() == 1:
        return values
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def weighted_mean(total: Tensor, weight: Tensor) -> Tensor:
    """Of a weighted mean over all processes' elements, the share that this process answers for.

    Args:
        total: sum of weight times value over the elements of this process, a scalar.
        weight: sum of their weights.

    Returns:
        A scalar whose mean over the processes is the mean over all elements; with one process, that mean itself.
        0 where all weights are.
    """
    everyone = summed(weight.detach())
    return total * processes() / everyone.clamp(min=torch.finfo(everyone.dtype).tiny)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        # Every process's loss depends on these values.
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total
