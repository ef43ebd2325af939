"""The checkpoint that a stopped training goes on from, and the orderly stop."""

from __future__ import annotations

import math
import signal
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from swin_unetr.errors import SwinUnetrError
from swin_unetr.files import replacing

#: Most seconds of training that a crash may cost, beyond the epoch in which it happens.
SAVE_EVERY_SECONDS = 60.0


class TrainingStopped(Exception):  # noqa: N818  # not an error: the user asked for it
    """Training was stopped from outside and can be resumed."""


class ResumePoint(Checkpoint):  # type: ignore[misc]  # Lightning is untyped here
    """Writes the checkpoint to resume from, and stops in order on Ctrl-C or SIGTERM.

    It is written at the end of an epoch: after each validation, and else when the last one is a minute old, so that
    short epochs are not spent on writing. The first signal lets the step (or the validation) under way end, writes
    the checkpoint and raises `TrainingStopped`; a second one stops at once.

    Args:
        path: file of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stop = False
        self._validated = False
        self._saved_at = 0.0
        self._started_at: float | None = None
        self._seconds_before = 0.0
        self._handlers: dict[int, Any] = {}

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._seconds_before + (0.0 if self._started_at is None else time.monotonic() - self._started_at)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and listen to signals."""
        self._saved_at = self._started_at = time.monotonic()
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._handlers = {
                number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
            }

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the signals as they were."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop within an epoch. After its last step the epoch is brought to its end first.

        Several processes stop between epochs only: to agree on it at every step would cost all of them time.
        """
        if self._stop and trainer.world_size == 1 and batch_idx + 1 < trainer.num_training_batches:
            self._save(trainer)
            raise TrainingStopped

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that there is more to lose."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time to, and stop between epochs."""
        loss = float(trainer.callback_metrics.get("train/loss", 0.0))
        if not math.isfinite(loss):
            raise SwinUnetrError(
                f"the training loss is {loss} in epoch {trainer.current_epoch + 1}; lower optimizer.learning_rate, set "
                f"optimizer.gradient_clip or another trainer.precision, and start from {self.path} or anew"
            )
        old = time.monotonic() - self._saved_at > SAVE_EVERY_SECONDS
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        stop = trainer.strategy.reduce_boolean_decision(self._stop, all=False)
        if trainer.strategy.broadcast(self._validated or old or ends or stop):
            self._save(trainer)
        if stop and not ends:
            raise TrainingStopped

    def state_dict(self) -> dict[str, float]:
        """For the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """From the checkpoint."""
        self._seconds_before = state_dict["seconds"]

    def _save(self, trainer: Trainer) -> None:
        with replacing(self.path) if trainer.is_global_zero else nullcontext(self.path) as path:
            trainer.save_checkpoint(path)  # all processes take part; the first one writes
        self._saved_at = time.monotonic()
        self._validated = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        print("\nstopping after this step (or validation); once more stops at once", flush=True)
