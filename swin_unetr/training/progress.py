"""What a person sees while training runs: loss, Dice, and the time left for the whole run."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from swin_unetr.training.model_folders import ModelFolders

#: Steps between two readings of the loss: reading waits for the accelerator.
READ_EVERY_STEPS = 25


class ProgressReport(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """A bar on a terminal, with a line for each validation; elsewhere one line for each epoch.

    Args:
        monitor: name of the validation score; scores of single structures are `monitor/<name>`.
        console: where to write; none writes to standard output.
    """

    def __init__(self, monitor: str, console: Console | None = None) -> None:
        self._monitor = monitor
        self._console = console or Console()
        self._bar: Progress | None = None
        self._task: Any = None
        self._started_at = 0.0
        self._first_epoch = 0
        self._validated = False
        self._label = monitor.rpartition("/")[2].replace("_", " ").replace("dice", "Dice")
        self._score = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock and the bar."""
        self._started_at, self._first_epoch = time.monotonic(), trainer.current_epoch
        if trainer.is_global_zero and self._console.is_terminal:
            columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[text]}")
            self._bar = Progress(
                *(TextColumn(column) if isinstance(column, str) else column for column in columns),
                console=self._console,
                refresh_per_second=2,
            )
            self._task = self._bar.add_task("", total=int(trainer.num_training_batches), text="")
            self._bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the epoch."""
        self._validated = False
        if self._bar is not None:
            self._bar.update(
                self._task, description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", completed=0
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; now and then read the loss."""
        if self._bar is None:
            return
        if batch_idx % READ_EVERY_STEPS == 0:
            done = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
            loss = float(outputs["loss"]) * trainer.accumulate_grad_batches
            text = f"loss {loss:.4f}{self._score}  {self._time_left(trainer, done)}"
            self._bar.update(self._task, completed=batch_idx + 1, text=text)
        else:
            self._bar.update(self._task, completed=batch_idx + 1)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Say which scan is validated."""
        if self._bar is not None:
            self._bar.update(self._task, text=f"validating {batch_idx + 1}/{trainer.num_val_batches[0]}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the score."""
        self._validated = True
        self._score = f"  {self._label} {float(trainer.callback_metrics[self._monitor]):.4f}"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the line of the epoch."""
        if not trainer.is_global_zero or (self._bar is not None and not self._validated):
            return
        metrics = trainer.callback_metrics
        line = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {float(metrics['train/loss']):.4f}"
        if self._validated:
            prefix = f"{self._monitor}/"
            parts = [f"{name[len(prefix) :]} {float(metrics[name]):.3f}" for name in metrics if name.startswith(prefix)]
            highest = any(isinstance(each, ModelFolders) and each.is_highest for each in trainer.callbacks)
            line += f"{self._score} ({', '.join(parts)})" + (" best" if highest else "")
        line += f"  {self._time_left(trainer, trainer.current_epoch + 1)}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"score": self._score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._score = state_dict["score"]

    def _time_left(self, trainer: Trainer, epochs_done: float) -> str:
        elapsed = time.monotonic() - self._started_at
        left = elapsed / (epochs_done - self._first_epoch) * (trainer.max_epochs - epochs_done)
        return f"{timedelta(seconds=round(left))} left"
