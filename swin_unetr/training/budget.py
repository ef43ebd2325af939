"""A training that ends with its time or its steps, rather than after a number of epochs.

An epoch is then the part of the budget after which there is a validation, not a pass over the data: the loader goes on
without an end, and an epoch ends when its share of the budget is spent. Everything that follows the course of the
training (learning rate, average of weights) asks for the share that is spent (`swin_unetr.training.schedule`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from swin_unetr.config import OptimizerConfig, TrainerConfig
from swin_unetr.errors import ConfigError
from swin_unetr.training.carried_over import rates_of
from swin_unetr.training.optimizer import Rate, build_optimizer, rate_of_steps, take_up
from swin_unetr.training.schedule import SCHEDULE, Piece, Schedule
from swin_unetr.transfer_config import TransferConfig


class BudgetTooShortError(ConfigError):
    """The time is too short for a single validation."""


class Budget(Callback, ABC):  # type: ignore[misc]  # Lightning is untyped here
    """Ends epochs, and with the last one the training; sets the learning rate of each step.

    It comes before all other callbacks, which find the end of an epoch where they find any other.

    Args:
        run_folder: takes `schedule.json`.
        schedule: what is known of it beforehand.
    """

    def __init__(self, run_folder: Path, schedule: Schedule) -> None:
        self._folder = run_folder
        #: The course of the training, as far as it is known.
        self.schedule = schedule
        self._step = 0

    @property
    @abstractmethod
    def epochs(self) -> int:
        """How many the training will have."""

    @abstractmethod
    def resumed(self, state: dict[str, Any], step: int) -> None:
        """Take up the state of a run that was stopped after a step.

        Raises:
            ConfigError: the run has spent more than the budget.
        """

    @property
    def _piece(self) -> Piece:
        return self.schedule.piece_at(self._step)

    @property
    def decay(self) -> float:
        """Of the average of the weights, at the step under way."""
        return self._piece.decay

    @property
    def seconds_left(self) -> float | None:
        """Of the whole training; None if only its steps are known."""
        return None

    def learning_rate(self, warmup: float) -> float:
        """Share of the full learning rate at the step under way.

        Args:
            warmup: share of the budget in which the rate rises.
        """
        return self._piece.learning_rate(self._step, warmup) if self.schedule.pieces else 0.0

    @property
    def progress(self) -> tuple[float, float]:
        """Share that is spent before the step under way, and share that this step spends."""
        return (self._piece.share_at(self._step), self._piece.of_a_step) if self.schedule.pieces else (0.0, 0.0)

    def share_after(self, step: int) -> float:
        """Spent after so many steps, as far as it is known."""
        return self.schedule.piece_at(step).share_at(step)

    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return {"schedule": SCHEDULE, "epoch_ends": self.schedule.ends}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up the budget of the run; a new one may be larger."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            raise ConfigError("trainer: the run began without a budget of time or steps, and cannot go on with one")
        self._step = checkpoint["global_step"]
        self.resumed(state, self._step)
        self.schedule.finished = False
        trainer.fit_loop.max_epochs = self.epochs

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is known of the schedule."""
        self._save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the epoch be without an end, and set the rate of its first step, which tables show."""
        trainer.fit_loop.max_batches = math.inf
        self._begin_step(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set the learning rate."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._begin_step(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the epoch if its share of the budget is spent."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and self._is_due(trainer, pl_module):
            self._note_end(trainer.current_epoch, trainer.global_step)
            trainer.fit_loop.max_batches = batch_idx + 1
            trainer.fit_loop.epoch_loop.batch_progress.is_last_batch = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the schedule so far."""
        self.schedule.finished = trainer.should_stop or trainer.current_epoch + 1 == self.epochs
        self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"schedule": self.schedule.to_dict()}

    def _save(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            made = self.schedule.ends[: trainer.current_epoch + 1] if trainer.should_stop else self.schedule.ends
            replace(self.schedule, ends=made).save(self._folder)

    def _begin_step(self, trainer: Trainer) -> None:
        self._step = trainer.global_step
        self._note_share()
        for config in trainer.lr_scheduler_configs:
            take_up(config.scheduler)

    def _note_share(self) -> None:
        """Add what is spent before the step to the schedule, if it is not known beforehand."""

    def _note_end(self, epoch: int, step: int) -> None:
        """Add the end of an epoch to the schedule, if it is not known beforehand."""

    @abstractmethod
    def _is_due(self, trainer: Trainer, module: LightningModule) -> bool:
        """Whether the epoch ends after the step that has just ended."""


def budget_of(trainer: Trainer) -> Budget | None:
    """The budget of a training; None if it counts epochs."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, Budget)), None)


def share_spent(trainer: Trainer, config: TrainerConfig) -> float:
    """Share of a training that is spent before the step under way, from 0 to 1.

    Args:
        trainer: its data module has `steps_per_epoch`.
        config: epochs, unless the trainer has a budget.
    """
    if budget := budget_of(trainer):
        return min(1.0, budget.progress[0])
    step: int = trainer.global_step
    return min(1.0, step / max(1, _steps_per_epoch(trainer, config) * config.max_epochs))


def _steps_per_epoch(trainer: Trainer, config: TrainerConfig) -> int:
    """Steps of the optimiser."""
    batches: int = trainer.datamodule.steps_per_epoch
    return math.ceil(batches / config.accumulate_batches)


def configure_optimizers(
    trainer: Trainer,
    parameters: Iterable[nn.Parameter] | Sequence[dict[str, Any]],
    optimizer: OptimizerConfig,
    config: TrainerConfig,
    fused: bool,
    transfer: TransferConfig | None = None,
) -> dict[str, Any]:
    """AdamW with warm-up and cosine, stepped by optimiser steps, as Lightning's hook of this name returns it.

    Args:
        trainer: its data module has `steps_per_epoch`.
        parameters: what to train.
        optimizer: rate, weight decay, warm-up.
        config: epochs, unless the trainer has a budget.
        fused: update all tensors in one kernel.
        transfer: how weights that were carried over are trained; `parameters` are then the groups of
            `carried_over.groups_of`. If None, all are trained alike.
    """
    steps_per_epoch = _steps_per_epoch(trainer, config)
    total_steps = steps_per_epoch * config.max_epochs
    budget, warmup = budget_of(trainer), optimizer.warmup_of(config.max_epochs)
    together = rate_of_steps(optimizer, steps_per_epoch, total_steps)
    if budget is not None:
        together = lambda _: budget.learning_rate(warmup)  # noqa: E731  # one of two
    rates: Rate | list[Rate] = together
    if transfer is not None:

        def progress(step: int) -> tuple[float, float]:
            return (step / total_steps, 1 / total_steps) if budget is None else budget.progress

        groups = cast(Sequence[dict[str, Any]], parameters)
        rates = rates_of(groups, transfer, together, progress, warmup)
    built, schedule = build_optimizer(
        parameters, optimizer, steps_per_epoch=steps_per_epoch, total_steps=total_steps, fused=fused, rate=rates
    )
    return {"optimizer": built, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
