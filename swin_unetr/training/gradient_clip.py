"""Clips the norm of the gradients, also of those that are divided among processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from swin_unetr.training.across_processes import summed
from swin_unetr.training.sharding import is_divided, own_part


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """Scale all gradients so that their norm together is `largest` at most.

    Lightning's own way refuses a fused optimiser under any autocast, although only a gradient scaler forbids it, and
    with one the optimiser is not fused here.

    Args:
        parameters: their gradients are scaled. If one is divided, all are, and all processes take part.
        largest: of the norm over all elements in all processes.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not any(map(is_divided, gradients)):
        nn.utils.clip_grad_norm_(parameters, largest)
        return
    parts = [own_part(gradient) for gradient in gradients]
    # One sum over the processes; torch would make one for each gradient.
    norm = summed(torch.stack(torch._foreach_norm(parts)).square().sum()).sqrt()
    torch._foreach_mul_(parts, (largest / (norm + 1e-6)).clamp(max=1.0))
