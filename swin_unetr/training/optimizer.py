"""AdamW, and its learning rate: linear warm-up, then a cosine, by the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from swin_unetr.config import OptimizerConfig

#: Share of the full learning rate at an optimiser step, counted from 0.
Rate = Callable[[int], float]


def warmup_cosine(step: int, *, warmup_steps: int, total_steps: int) -> float:
    """Share of the full learning rate at a step; above 0 at every step from the first to the last.

    The published code sets the rate by the epoch, and so trains its first epoch, and its last, at almost nothing.

    Args:
        step: optimiser step, from 0.
        warmup_steps: steps until the full rate is reached; 0 starts with it.
        total_steps: steps of the whole training.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    config: OptimizerConfig,
    *,
    steps_per_epoch: float,
    total_steps: int,
    fused: bool = True,
    rate: Rate | Sequence[Rate] | None = None,
) -> tuple[AdamW, LambdaLR]:
    """AdamW, and the schedule that is to be stepped after each of its steps.

    Args:
        parameters: what to train (`swin_unetr.training.decay.parameter_groups`).
        config: learning rate, weight decay, warm-up.
        steps_per_epoch: optimiser steps of an epoch.
        total_steps: optimiser steps of the whole training.
        fused: update all tensors in one kernel.
        rate: share of the full learning rate at a step, of all groups of parameters or of each. If None,
            `rate_of_steps`. Plain functions, not objects: their state must not be restored, so that a resumed run may
            train for longer.
    """
    if rate is None:
        rate = rate_of_steps(config, steps_per_epoch, total_steps)
    optimizer = AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused)
    return optimizer, LambdaLR(optimizer, rate if callable(rate) else list(rate))


def rate_of_steps(config: OptimizerConfig, steps_per_epoch: float, total_steps: int) -> Rate:
    """The share of the full learning rate, by the number of the step; arguments as of `build_optimizer`."""
    warmup = config.warmup_share
    warmup_steps = round(config.warmup_epochs * steps_per_epoch if warmup is None else warmup * total_steps)
    return lambda step: warmup_cosine(step, warmup_steps=warmup_steps, total_steps=total_steps)


def take_up(schedule: LambdaLR) -> None:
    """Set the rate of the step that comes next, after a resume.

    The rate in a checkpoint is that of the old schedule; where a run is resumed to train for longer, the new one
    differs, and the old one may have ended at 0.
    """
    rates = (
        base * share(schedule.last_epoch) for base, share in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)
    )
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
