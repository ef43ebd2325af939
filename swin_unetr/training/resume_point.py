"""The checkpoint that a stopped training goes on from, and the orderly stop."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from swin_unetr.files import remove_partials, replacing
from swin_unetr.signals import Terminated
from swin_unetr.training.checkpoint_files import keep_previous
from swin_unetr.training.finite_loss import FiniteLoss
from swin_unetr.training.stop_signals import Stop, StopSignals, requeue

#: Most seconds of training that a crash may cost, where writing is fast.
SAVE_EVERY_SECONDS = 60.0
#: Largest share of the time that writing it may take; other files written at the end of epochs add to that.
_SHARE = 0.05


class TrainingStopped(Exception):  # noqa: N818  # not an error: the user asked for it
    """Training was stopped from outside and can be resumed.

    Args:
        asked: what asked for the stop.
    """

    def __init__(self, asked: Stop) -> None:
        super().__init__(asked.name.lower())
        #: Raise it to end the command with the signal's exit code.
        self.interrupt = KeyboardInterrupt() if asked is Stop.INTERRUPT else Terminated()


class ResumePoint(Checkpoint):  # type: ignore[misc]  # Lightning is untyped here
    """Writes the checkpoint to resume from, and stops in order on Ctrl-C, SIGTERM or SIGUSR1.

    It is written after each validation, at the end of the training, and whenever the last one is a minute old, also
    within an epoch. The one before it is kept beside it. The first signal lets the step (or the validation)
    under way end, writes the checkpoint, has SLURM requeue the job on its SIGUSR1, and raises `TrainingStopped`. Before
    the first step has ended there is nothing to save, and a signal stops at once.

    Args:
        path: file of the checkpoint.
        finite: checks before anything is written, so that a broken model replaces nothing good.
    """

    def __init__(self, path: Path, finite: FiniteLoss) -> None:
        self.path = path
        self._finite = finite
        self._signals = StopSignals()
        self._validated = False
        self._saved_at = 0.0
        self._cost = 0.0
        self._started_at: float | None = None
        self._seconds_before = 0.0

    @property
    def asked(self) -> Stop:
        """What signals have asked of the training so far."""
        return self._signals.asked

    def stop_after_end(self) -> None:
        """Stop after a training that reached its end although a signal came in its last steps.

        Raises:
            KeyboardInterrupt: there was such a signal.
        """
        if self.asked in (Stop.INTERRUPT, Stop.TERMINATE):
            raise TrainingStopped(self.asked).interrupt

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return self._seconds_before + (0.0 if self._started_at is None else time.monotonic() - self._started_at)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, listen to signals, and clear away what a killed run left half-written."""
        self._saved_at = self._started_at = time.monotonic()
        self._signals.wait = trainer.world_size > 1  # the others would wait for this process for ever
        self._signals.listen()
        if trainer.is_global_zero and self.path.parent.parent.is_dir():
            remove_partials(self.path.parent.parent)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the signals as they were."""
        self._signals.leave()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop within an epoch, where the optimiser has just stepped.

        After its last step the epoch is brought to its end first, with its validation.
        """
        self._signals.wait = True
        if batch_idx + 1 >= trainer.num_training_batches or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        asked = self._agree(trainer, self._is_old(trainer))
        if asked:
            self._save(trainer, pl_module)
        if asked > Stop.SAVE:
            self._stop(trainer, asked)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember that there is more to lose."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if it is time to, and stop between epochs."""
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        asked = self._agree(trainer, self._validated or ends or self._is_old(trainer))
        if asked:
            self._save(trainer, pl_module)
        if asked > Stop.SAVE and not ends:
            self._stop(trainer, asked)

    def state_dict(self) -> dict[str, float]:
        """For the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """From the checkpoint."""
        self._seconds_before = state_dict["seconds"]

    def _is_old(self, trainer: Trainer) -> bool:
        """Whether the last checkpoint is; the clock of the first process counts."""
        age = time.monotonic() - self._saved_at
        return trainer.is_global_zero and age > max(SAVE_EVERY_SECONDS, self._cost / _SHARE)

    def _agree(self, trainer: Trainer, save: bool) -> Stop:
        """What any of the processes was asked for; if nothing, whether to save."""
        asked = self._signals.asked or (Stop.SAVE if save else Stop.NO)
        if trainer.world_size > 1:
            highest = torch.tensor(int(asked), device=trainer.strategy.root_device)
            asked = Stop(int(trainer.strategy.reduce(highest, reduce_op="max")))
        return asked

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finite.check(trainer, pl_module)
        start = time.monotonic()
        with replacing(self.path) if trainer.is_global_zero else nullcontext(self.path) as path:
            trainer.save_checkpoint(path)  # all processes take part; the first one writes
            if trainer.is_global_zero:
                keep_previous(self.path)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - start
        self._validated = False

    @staticmethod
    def _stop(trainer: Trainer, asked: Stop) -> None:
        if asked == Stop.REQUEUE and trainer.is_global_zero:
            print(requeue(), flush=True)
        raise TrainingStopped(asked)
