"""What the network in training learns from crops without labels: the probabilities of its teacher.

A mean teacher (Tarvainen & Valpola, 1703.01780): the mean squared difference of the probabilities of both, in voxels
where the teacher is sure (as FixMatch, 2001.07685), with a weight that rises in the first part of the training.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from finetune.config import UnlabelledConfig
from swin_unetr.tasks import Task
from swin_unetr.training.across_processes import processes, summed, weighted_mean

#: What is logged of it.
CONSISTENCY, CONFIDENT = "train/consistency", "train/confident"


def weight_at(spent: float, config: UnlabelledConfig) -> float:
    """Weight of the consistency when a share of the training is spent: exp(-5 (1 - x)^2) of the full one (section 3.3).

    Args:
        spent: share of the training, from 0 to 1.
        config: full weight, and the share in which it rises.
    """
    x = min(1.0, spent / config.ramp) if config.ramp else 1.0
    return config.weight * math.exp(-5 * (1 - x) ** 2)


def consistency(student: Tensor, teacher: Tensor, task: Task, confidence: float) -> tuple[Tensor, Tensor]:
    """Mean squared difference of the probabilities of student and teacher where the teacher is sure.

    Args:
        student: scores before the activation, B x C x X x Y x Z.
        teacher: the same of the teacher. No gradients flow there.
        task: softmax, whose voxels count as a whole; or sigmoids, which count each by itself.
        confidence: least probability of the most probable class, or of a voxel being in or out of a region.

    Returns:
        The mean, over all processes' counted voxels and their channels, and the share of voxels that count.
    """
    softmax = task.activation == "softmax"
    with torch.no_grad():
        target = teacher.float().softmax(dim=1) if softmax else teacher.float().sigmoid()
        sure = target.amax(dim=1, keepdim=True) if softmax else torch.maximum(target, 1 - target)
        counts = (sure >= confidence).expand_as(target).float()
    probabilities = student.float().softmax(dim=1) if softmax else student.float().sigmoid()
    squares = (probabilities - target).square() * counts
    return weighted_mean(squares.sum(), counts.sum()), counts.mean()


class ConsistencyMeans(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Logs, for every epoch, the mean consistency and the mean share of sure voxels; goes on with them after a stop."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None
        self._steps = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the values of a step, without waiting for the accelerator."""
        values: Tensor = pl_module.taught
        self._sums = values if self._sums is None else self._sums.to(values.device) + values
        self._steps += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the means."""
        if self._sums is not None:
            for name, total in zip((CONSISTENCY, CONFIDENT), self._sums, strict=True):
                pl_module.log(name, total / self._steps, sync_dist=True)
        self._sums, self._steps = None, 0

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, the mean of all processes, which take part."""
        means = None if self._sums is None else (summed(self._sums) / processes()).tolist()
        return {"sums": means, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the sums of the epoch that was stopped."""
        self._sums = None if state_dict["sums"] is None else torch.tensor(state_dict["sums"])
        self._steps = state_dict["steps"]
