"""Activations that are computed a second time in the backward pass rather than kept (1604.06174)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def run(part: Callable[..., Tensor], *arguments: object, again: bool) -> Tensor:
    """Call a part of a network. If `again` and gradients are needed, keep only its arguments and result.

    The second time draws the same random numbers under the same autocast, so that gradients are the same to the bit.
    """
    if again and torch.is_grad_enabled():
        result: Tensor = checkpoint(part, *arguments, use_reentrant=False)
        return result
    return part(*arguments)
