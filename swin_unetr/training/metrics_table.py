"""The scores of every epoch as a table for people and spreadsheets."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from swin_unetr.files import write_text
from swin_unetr.training.carried_over import named_rates
from swin_unetr.training.loader_clock import LoaderClock


class MetricsTable(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Writes `metrics.csv`: one row for each epoch, with the same columns throughout.

    `learning_rate` is that of the epoch's first step. `learning_rate/carried` and others like it are those of weights
    that were carried over, if they are trained at rates of their own (`carried_over`).
    `loader_share` is the part of the time without validation that the steps have waited for their batches.

    Lightning's `CSVLogger` deletes the table of a run that is resumed; this one is in the checkpoint too, and goes on
    with the rows of the epochs that are done, whatever a crash has left of the file.

    Args:
        path: the file.
        metrics: names of the logged values; those of the validation, which not every epoch has, start with "val/".
        clock: that of the Trainer.
    """

    def __init__(self, path: Path, metrics: Sequence[str], clock: LoaderClock) -> None:
        self._path = path
        self._metrics = tuple(metrics)
        self._clock = clock
        self._first = ("epoch", "step", "seconds", "loader_share", "learning_rate")
        self._columns = (*self._first, *self._metrics)
        self._rows: list[dict[str, str]] = []
        self._validated = False
        self._started_at = 0.0
        self._seconds_before = 0.0
        self._validation = 0.0
        self._rate = 0.0
        self._carried: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows of the epochs that are done."""
        known = [f"learning_rate/{name}" for name in dict(named_rates(trainer.optimizers[0]))]
        self._columns = (*self._first, *known, *self._metrics)
        self._started_at = time.monotonic() - self._seconds_before  # of an epoch that goes on; others start anew
        if trainer.is_global_zero:
            buffer = io.StringIO()
            writer = csv.DictWriter(buffer, self._columns, lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)
            write_text(self._path, buffer.getvalue())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and note the learning rate: after the last step, the schedule is at the next epoch's."""
        self._started_at, self._validated = time.monotonic(), False
        self._clock.seconds = self._validation = 0.0
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._carried = dict(named_rates(trainer.optimizers[0]))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the time of training."""
        self._validation -= time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that this epoch has scores of its own."""
        self._validation += time.monotonic()
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Append the row of the epoch."""
        known = {
            name: f"{float(trainer.callback_metrics[name]):.6g}"
            for name in self._metrics
            if name in trainer.callback_metrics and (self._validated or not name.startswith("val/"))
        }
        seconds = time.monotonic() - self._started_at
        row = {
            "epoch": str(trainer.current_epoch + 1),
            "step": str(trainer.global_step),
            "seconds": f"{seconds:.2f}",
            "loader_share": f"{self._clock.seconds / (seconds - self._validation):.4f}",
            "learning_rate": f"{self._rate:.6g}",
            **{f"learning_rate/{name}": f"{rate:.6g}" for name, rate in self._carried.items()},
            **known,
        }
        self._rows.append(row)
        if trainer.is_global_zero:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerow(row)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        seconds = time.monotonic() - self._started_at
        rates = {"rate": self._rate, "carried": self._carried}
        return {"rows": self._rows, **rates, "seconds": seconds, "waited": self._clock.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self._rows = [dict(row) for row in state_dict["rows"]]
        self._rate, self._seconds_before = state_dict["rate"], state_dict["seconds"]
        self._carried = state_dict.get("carried", {})  # likewise
        self._clock.seconds = state_dict.get("waited", 0.0)  # older checkpoints do not have it
