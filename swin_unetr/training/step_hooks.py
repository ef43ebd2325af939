"""What belongs to every step and epoch: randomness, the mean loss, validation after the last epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from swin_unetr.training.across_processes import processes, summed
from swin_unetr.training.optimizer import take_up


def derived_seed(*parts: int) -> int:
    """A seed of 32 bits from several numbers, such as seed, epoch and index: independent for each combination."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class StepHooks(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Seeds every step, logs "train/loss" for every epoch, and has the last epoch validated.

    Dropout and drop path draw from torch's global state. Seeded at each step, which takes some microseconds, a run
    that is resumed draws what the undisturbed one would have. The loss is summed where it is computed: to log it at
    every step would take Lightning longer than all the rest that it does.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sum: Tensor | None = None
        self._steps = 0

    @property
    def state_key(self) -> str:
        """Name of its state in a checkpoint; older checkpoints have it too."""
        return "Course"

    def state_dict(self) -> dict[str, Any]:
        """The sum so far, for an epoch that is stopped in the middle: the mean of all processes, which take part."""
        mean = None if self._sum is None else float(summed(self._sum) / processes())
        return {"sum": mean, "steps": self._steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the sum of the epoch that was stopped."""
        total = state_dict["sum"]
        self._sum, self._steps = None if total is None else torch.tensor(total), state_dict["steps"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """After a resume, set the learning rate by the schedule of this training."""
        for config in trainer.lr_scheduler_configs:
            take_up(config.scheduler)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch; in the last epoch, turn validation on, since a resumed epoch has no other hook at its start."""
        torch.manual_seed(derived_seed(self._seed, trainer.current_epoch, batch_idx, trainer.global_rank))
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the loss, without waiting for the accelerator."""
        loss = outputs["loss"]
        self._sum = loss if self._sum is None else self._sum.to(loss.device) + loss
        self._steps += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the mean."""
        if self._sum is not None:
            # what Lightning hands out is divided by the number of batches that are accumulated
            mean = self._sum / self._steps * trainer.accumulate_grad_batches
            pl_module.log("train/loss", mean, sync_dist=True)
        self._sum, self._steps = None, 0
