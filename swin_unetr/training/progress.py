"""What a person sees while training runs: loss, Dice, and the time left for the whole run."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from swin_unetr.machine import cores
from swin_unetr.training.budget import budget_of
from swin_unetr.training.model_folders import ModelFolders
from swin_unetr.words import count, decimal

#: Steps between two readings of the loss: reading waits for the accelerator.
READ_EVERY_STEPS = 25
#: Without a terminal, a line of progress is written after this time without a line.
QUIET_SECONDS = 60.0
#: How long the load of the cores is measured, and how many busy cores are not worth a message.
_LOOK_SECONDS, _TOLERANCE = 0.2, 0.5


class ProgressReport(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """A bar on a terminal, with a line for each validation; elsewhere one line for each epoch.

    Args:
        monitor: name of the validation score; scores of single structures are `monitor/<name>`.
        console: where to write. If None, standard output.
    """

    def __init__(self, monitor: str, console: Console | None = None) -> None:
        self._monitor = monitor
        self._console = console or Console()
        self._bar: Progress | None = None
        self._task: Any = None
        self._started_at = 0.0
        self._first = 0.0
        self._validation_at = self._wrote_at = 0.0
        self._validated = False
        self._label = monitor.rpartition("/")[2].replace("_", " ").replace("dice", "Dice")
        self._score = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and the bar; say what comes, since the first step may take minutes."""
        self._started_at, self._first = time.monotonic(), _done(trainer, -1)
        if trainer.is_global_zero:
            self._say(f"{words_on_device(trainer.strategy.root_device)}; the first step takes longer than the others")
        if trainer.is_global_zero and self._console.is_terminal:
            far = MofNCompleteColumn() if budget_of(trainer) is None else TaskProgressColumn()
            columns = ("{task.description}", BarColumn(), far, "{task.fields[text]}")
            self._bar = Progress(
                *(TextColumn(column) if isinstance(column, str) else column for column in columns),
                console=self._console,
                refresh_per_second=2,
            )
            self._task = self._bar.add_task("", total=_total(trainer), text="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the epoch."""
        self._validated = False
        if self._bar is not None:
            name = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._bar.update(self._task, description=name, completed=_completed(trainer, -1))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; now and then read the loss."""
        if self._bar is None:
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            of = f"/{trainer.num_training_batches}" if budget_of(trainer) is None else ""
            left = self._time_left(trainer, _done(trainer, batch_idx))
            self._say_if_quiet(trainer, f"{epoch}: step {batch_idx + 1}{of}, {left}")
            return
        if batch_idx % READ_EVERY_STEPS == 0:
            loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
            text = f"loss {loss:.4f}{self._score}  {self._time_left(trainer, _done(trainer, batch_idx))}"
            self._bar.update(self._task, completed=_completed(trainer, batch_idx), text=text)
        else:
            self._bar.update(self._task, completed=_completed(trainer, batch_idx))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the validation."""
        self._validation_at = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, text=f"validation 0/{trainer.num_val_batches[0]}")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Say how far the validation is, and how long it will take."""
        done, total = batch_idx + 1, trainer.num_val_batches[0]
        left = (time.monotonic() - self._validation_at) / done * (total - done)
        text = f"validation {done}/{total}, {timedelta(seconds=round(left))} left"
        if self._bar is not None:
            self._bar.update(self._task, text=text)
        elif done < total:
            self._say_if_quiet(trainer, f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {text}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the score."""
        self._validated = True
        self._score = f"  {self._label} {decimal(float(trainer.callback_metrics[self._monitor]))}"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line of the epoch."""
        if not trainer.is_global_zero or (self._bar is not None and not self._validated):
            return
        metrics = trainer.callback_metrics
        line = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {float(metrics['train/loss']):.4f}"
        if self._validated:
            prefix = f"{self._monitor}/"
            scores = {name[len(prefix) :]: float(of) for name, of in metrics.items() if name.startswith(prefix)}
            parts = [f"{name} {decimal(score, 3)}" for name, score in scores.items()]
            highest = any(isinstance(each, ModelFolders) and each.is_highest for each in trainer.callbacks)
            line += f"{self._score} ({', '.join(parts)})" + (" best" if highest else "")
        line += f"  {self._time_left(trainer, _done(trainer, trainer.num_training_batches - 1))}"
        self._say(line)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away."""
        self._stop_bar()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Likewise, since no teardown follows: a bar that stays breaks the lines that are printed after it."""
        self._stop_bar()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"score": self._score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._score = state_dict["score"]

    def _say(self, line: str) -> None:
        self._wrote_at = time.monotonic()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _say_if_quiet(self, trainer: Trainer, line: str) -> None:
        if trainer.is_global_zero and time.monotonic() - self._wrote_at > QUIET_SECONDS:
            self._say(line)

    def _time_left(self, trainer: Trainer, done: float) -> str:
        """In words; of a training without a budget of time by what is done of it."""
        budget = budget_of(trainer)
        left = None if budget is None else budget.seconds_left
        if left is None:
            if done <= self._first:  # no step of the optimiser yet
                return "time left not known yet"
            left = (time.monotonic() - self._started_at) / (done - self._first) * (1 - done)
        return f"{timedelta(seconds=round(left))} left"


def _done(trainer: Trainer, batch_idx: float) -> float:
    """Share of the training that is done after a batch of the epoch; -1: before the first."""
    budget = budget_of(trainer)
    if budget is not None:
        return budget.share_after(trainer.global_step)
    done = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
    return float(done / trainer.max_epochs)


def _total(trainer: Trainer) -> int:
    """What the bar counts: batches of an epoch, or of a budget hundredths."""
    return int(trainer.num_training_batches) if budget_of(trainer) is None else 100


def _completed(trainer: Trainer, batch_idx: int) -> float:
    """How many of them there are after a batch; -1: before the first."""
    return batch_idx + 1 if budget_of(trainer) is None else 100 * _done(trainer, batch_idx)


def words_on_device(device: torch.device) -> str:
    """Where a training runs; on a CPU, with how many threads, and whether other programs use the cores too."""
    if device.type != "cpu":
        return f"training on {device.type}"
    words = f"training on {count(cores(), 'core')} with {count(torch.get_num_threads(), 'thread')}"
    busy, there = busy_cores_of_others(), psutil.cpu_count() or 1
    if there - busy + _TOLERANCE >= min(torch.get_num_threads(), cores()):
        return words
    busy = min(busy, there)  # it is measured
    return f"{words}, while other programs keep {busy:.1f} of {there} busy: it takes longer than on a free machine"


def busy_cores_of_others() -> float:
    """Cores that other programs keep busy at the moment, this process and those that it started left out."""
    (all_before, own_before), started = _cpu_seconds(), time.monotonic()
    time.sleep(_LOOK_SECONDS)
    all_after, own_after = _cpu_seconds()
    seconds = time.monotonic() - started
    busy = ((all_after - all_before) - max(0.0, own_after - own_before)) / seconds
    return min(max(0.0, busy), float(psutil.cpu_count() or 1))  # the system counts in coarse steps


def _cpu_seconds() -> tuple[float, float]:
    """Seconds in which cores worked since the machine was started: for all programs, and for this one."""
    times, own = psutil.cpu_times(), 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            taken = process.cpu_times()
            own += taken.user + taken.system
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0), own
