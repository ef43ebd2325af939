"""The kinds of budgets: a number of steps, the schedule of another run, a length of time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from swin_unetr.config import TrainerConfig
from swin_unetr.durations import at_least, duration_in_words, parse_duration
from swin_unetr.errors import ConfigError
from swin_unetr.training.averaging import weights_to_keep
from swin_unetr.training.budget import Budget, BudgetTooShortError
from swin_unetr.training.first_process import tell
from swin_unetr.training.pace import Pace
from swin_unetr.training.schedule import (
    RESOLUTION,
    Piece,
    Schedule,
    affordable,
    even,
    left_of,
    read_schedule,
    without_crowded,
)

Clock = Callable[[], float]

#: Steps after which their mean says something, on an accelerator and on a processor.
_RELIABLE = (50, 5)


class KnownBudget(Budget):
    """A number of steps, or the schedule of another run, step by step.

    Args:
        run_folder: takes `schedule.json`.
        schedule: all of it.
        steps: of the whole training, if it is no schedule of another run.
        epochs: of the whole training.
    """

    def __init__(self, run_folder: Path, schedule: Schedule, *, steps: int | None = None, epochs: int = 0) -> None:
        super().__init__(run_folder, schedule)
        self._steps, self._epochs = steps, epochs

    @property
    def epochs(self) -> int:
        """How many the training will have."""
        return len(self.schedule.ends)

    def resumed(self, state: dict[str, Any], step: int) -> None:
        """Go on; another number of steps holds from here on."""
        if self._steps is None or state["total"] == [self._steps, self._epochs]:
            if self._steps is not None:
                self.schedule = Schedule.from_dict(state["schedule"])
            return
        if self._steps <= step:
            raise ConfigError(f"trainer.max_steps: {self._steps:,}, and the run has made {step:,} already; give more")
        self.schedule = Schedule.from_dict(state["schedule"]).extended(step, self._steps, self._epochs)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {**super().state_dict(), "total": [self._steps, self._epochs]}

    def _is_due(self, trainer: Trainer, module: LightningModule) -> bool:
        return bool(trainer.global_step >= self.schedule.ends[trainer.current_epoch])


class TimeBudget(Budget):
    """A length of time, from the start of the training to the last model that is written.

    The clock of the first process counts for all. The state of a stopped run has what it has spent.

    Args:
        run_folder: takes `schedule.json`.
        seconds: of the whole training.
        validations: as many, if they take no more than a quarter of the time.
        clock: gives seconds; another one for tests.
    """

    def __init__(self, run_folder: Path, seconds: float, validations: int, clock: Clock = time.monotonic) -> None:
        super().__init__(run_folder, Schedule())
        self._seconds, self._validations, self._clock = seconds, validations, clock
        #: Seconds at which each epoch should have ended, with its validation and all that is written.
        self._targets = even(0.0, seconds, validations)
        self._pace = Pace()
        self._before, self._started_at = 0.0, clock()
        #: Seconds spent when the last step ended, and, between two epochs, when the last epoch's steps ended.
        self._spent = 0.0
        self._ended_at: float | None = None
        #: When a validation was last estimated, and the seconds that this took.
        self._estimated_at, self._cost = 0.0, 0.0

    @property
    def epochs(self) -> int:
        """How many the training will have, as far as it is known."""
        return len(self._targets)

    @property
    def seconds_left(self) -> float:
        """Of the whole training."""
        return max(0.0, self._seconds - self._now())

    def share_after(self, step: int) -> float:
        """Spent now."""
        return min(1.0, self._now() / self._seconds)

    def facts(self) -> dict[str, Any]:
        """For the record of the run."""
        return {**super().facts(), "seconds": self._seconds, "spent_seconds": round(self._now(), 1)}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the clock."""
        self._started_at = self._clock()

    def resumed(self, state: dict[str, Any], step: int) -> None:
        """Go on with what is left of the time."""
        self.schedule = Schedule.from_dict(state["schedule"])
        self._before, self._pace = state["spent"], Pace(**state["pace"])
        self._targets = state["targets"]
        if state["total"] == [self._seconds, self._validations]:
            return
        if self._seconds <= self._before:
            asked, spent = duration_in_words(self._seconds), duration_in_words(self._before)
            raise ConfigError(f"trainer.max_time: {asked}, and the run has taken {spent} already; give more")
        done = self._targets[: len(self.schedule.ends)]
        parts = left_of(self._validations, self._before / self._seconds)
        self._targets = done + even(self._before, self._seconds, parts)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            **super().state_dict(),
            "total": [self._seconds, self._validations],
            "spent": self._now(),
            "targets": self._targets,
            "pace": vars(self._pace).copy(),
        }

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what the start has taken."""
        super().on_train_start(trainer, pl_module)
        self._spent = self._estimated_at = self._agreed(trainer)
        self._pace.pause()
        self._pace.reliable = _RELIABLE[trainer.strategy.root_device.type == "cpu"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note how long the end of the last epoch took."""
        self._spent = self._agreed(trainer)
        if self._ended_at is not None:
            self._pace.close_epoch(self._spent - self._ended_at)
            self._ended_at = None
        super().on_train_epoch_start(trainer, pl_module)

    def _note_share(self) -> None:
        pieces, share = self.schedule.pieces, min(self._spent / self._seconds, 1 - RESOLUTION)
        if not pieces or share - pieces[-1].share >= RESOLUTION or share < pieces[-1].share:
            pieces.append(Piece(self._step if pieces else 0, share, 0.0))

    def _note_end(self, epoch: int, step: int) -> None:
        self.schedule.ends.append(step)
        self._ended_at = self._spent

    def _is_due(self, trainer: Trainer, module: LightningModule) -> bool:
        spent = self._agreed(trainer)
        self._pace.add_step(spent - self._spent)
        self._spent = spent
        epoch = trainer.current_epoch
        if hasattr(module, "validation_seconds") and self._wants_estimate(self._targets[epoch]):
            self._estimate(trainer, module)
        if not self._pace.is_due(self._spent, self._targets[epoch]):
            return False
        self._targets = without_crowded(self._targets, epoch, self._spent, self._pace.closing_now)
        trainer.fit_loop.max_epochs = self.epochs
        return self._pace.is_due(self._spent, self._targets[epoch])

    def _wants_estimate(self, target: float) -> bool:
        """Whether to find out how long a validation takes: before there was one, and anew shortly before the first."""
        pace, closing = self._pace, self._pace.closing_now
        if pace.closing is None:
            return pace.steps >= 2 or pace.is_due(self._spent, target)
        near = self._spent + 2 * closing >= target
        return pace.estimated and near and self._spent - self._estimated_at > max(closing / 2, 10 * self._cost)

    def _estimate(self, trainer: Trainer, module: LightningModule) -> None:
        """Ask the module how long a validation takes; it segments a scan to know it.

        Raises:
            BudgetTooShortError: one validation alone takes longer than what is left.
        """
        first, began = self._pace.closing is None, self._spent
        with weights_to_keep(trainer, module):  # all processes take part
            seconds = _largest(trainer, module.validation_seconds())
        self._pace.expect(seconds)
        self._spent = self._estimated_at = self._agreed(trainer)
        self._cost = self._spent - began
        if first and self._spent + self._pace.closing_now > self._seconds:
            least = at_least(self._before + 1.2 * (self._spent - self._before + self._pace.closing_now))
            raise BudgetTooShortError(
                f"trainer.max_time: {duration_in_words(self._seconds)} is too short for a single validation, which "
                f"takes about {duration_in_words(seconds)} on this machine; give at least {least}"
            )
        wanted = len(self._targets)
        number = affordable(wanted, self._seconds, seconds) if first and trainer.current_epoch == 0 else wanted
        if number < wanted:
            self._targets = even(0.0, self._seconds, number)
            trainer.fit_loop.max_epochs = self.epochs
            tell(f"validations: {number} rather than {wanted}, since each takes about {duration_in_words(seconds)}")

    def _now(self) -> float:
        return self._before + self._clock() - self._started_at

    def _agreed(self, trainer: Trainer) -> float:
        """What is spent, by the clock of the first process."""
        return _largest(trainer, self._now() if trainer.is_global_zero else -math.inf)


def build_budget(config: TrainerConfig, run_folder: Path, clock: Clock = time.monotonic) -> Budget | None:
    """The budget that a configuration sets; None if it counts epochs.

    Raises:
        DataError: the schedule to repeat cannot be read.
    """
    if config.schedule is not None:
        return KnownBudget(run_folder, read_schedule(Path(config.schedule)))
    if config.max_steps is not None:
        schedule = Schedule.of_steps(config.max_steps, config.validations)
        return KnownBudget(run_folder, schedule, steps=config.max_steps, epochs=config.validations)
    if config.max_time is not None:
        return TimeBudget(run_folder, parse_duration(config.max_time), config.validations, clock)
    return None


def _largest(trainer: Trainer, value: float) -> float:
    """Of the values of all processes."""
    if trainer.world_size == 1:
        return value
    values = torch.tensor(value, dtype=torch.float64, device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(values, reduce_op="max"))
