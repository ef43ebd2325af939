"""Sums over the processes of a training, so that a batch counts the same in one process or divided among several.

Data-parallel training takes the mean of the gradients of all processes. For a loss that is a mean over equally
many samples this is the gradient of the joined batch; for a ratio of sums it is not, unless they are sums over all.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def processes() -> int:
    """How many processes train together; 1 if there is only this one."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, in each of them.

    Args:
        values: of this process; the same shape everywhere. Gradients flow through the sum: the mean of all processes'
            losses, which data-parallel training minimises, has the gradient of the joined loss.
    """
    if processes() == 1:
        return values
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


def weighted_mean(total: Tensor, weight: Tensor) -> Tensor:
    """This process's share of the weighted mean over the elements of all processes.

    Args:
        total: sum of weight times value over the elements of this process, a scalar.
        weight: sum of their weights.

    Returns:
        A scalar whose mean over the processes is the mean over all elements; with one process, that mean itself.
        0 if all weights are 0.
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
