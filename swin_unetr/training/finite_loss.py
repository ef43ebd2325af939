"""Stops a training whose loss or weights are no longer finite, before anything good is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed

from swin_unetr.errors import SwinUnetrError
from swin_unetr.training.budget import budget_of
from swin_unetr.training.progress import READ_EVERY_STEPS
from swin_unetr.training.sharding import own_part

_REMEDY = "lower optimizer.learning_rate, set optimizer.gradient_clip or another trainer.precision"


class FiniteLoss(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Raises when the loss of a step, or a weight, is NaN or infinite; names the cases of the batch.

    On a CPU every step is checked; elsewhere every 25th step checks the last 25, since reading waits for the
    accelerator. `check` runs before anything is saved. This callback comes before all callbacks that write.

    The data module may say which cases a batch was made of: `case_names(epoch, batch_idx) -> list[str]`.

    Args:
        run_folder: for the message.
    """

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        #: Epoch, batch, batch of the whole training, and loss of the steps that are not checked yet.
        self._recent: list[tuple[int, int, int, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss of the step, and check when it is time to."""
        loss = outputs["loss"].detach()
        total = trainer.fit_loop.epoch_loop.total_batch_idx
        self._recent.append((trainer.current_epoch, batch_idx, total, loss))
        last = batch_idx + 1 >= trainer.num_training_batches
        if loss.device.type == "cpu" or last or len(self._recent) >= READ_EVERY_STEPS:
            self._check_losses(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check, so that a broken model is not chosen as the best."""
        self.check(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before anything is written at the end of an epoch."""
        self.check(trainer, pl_module)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check all that is not checked yet, and the weights: a finite loss may have had an infinite gradient.

        All processes take part.

        Raises:
            SwinUnetrError: a loss or a weight is not finite.
        """
        self._check_losses(trainer)
        norms = torch.stack(torch._foreach_norm([own_part(value) for value in pl_module.parameters()]))
        if _anywhere(trainer, not bool(norms.isfinite().all())):
            raise SwinUnetrError(
                f"the weights are no longer finite in epoch {trainer.current_epoch + 1}; {self._kept()}"
            )

    def _check_losses(self, trainer: Trainer) -> None:
        recent, self._recent = self._recent, []
        finite = torch.stack([loss for *_, loss in recent]).isfinite().tolist() if recent else []
        wrong = next((step for step, good in zip(recent, finite, strict=True) if not good), None)
        if not _anywhere(trainer, wrong is not None):
            return
        found = [line for line in _from_all(trainer, self._describe(trainer, wrong)) if line]
        raise SwinUnetrError(f"{'; '.join(found)}; {self._kept()}")

    def _describe(self, trainer: Trainer, step: tuple[int, int, int, Tensor] | None) -> str:
        if step is None:
            return ""
        epoch, batch_idx, total, loss = step
        data: Any = getattr(trainer, "datamodule", None)
        names = []
        if hasattr(data, "case_names"):
            visited = (epoch, batch_idx) if budget_of(trainer) is None else divmod(total, data.steps_per_epoch)
            names = data.case_names(*visited)
        cases = f" (cases: {', '.join(names)})" if names else ""
        return f"the training loss is {float(loss)} in epoch {epoch + 1}, batch {batch_idx + 1}{cases}"

    def _kept(self) -> str:
        return f"{_REMEDY}, and look at these cases; the last good weights are kept in {self._folder}"


def _anywhere(trainer: Trainer, wrong: bool) -> bool:
    """Whether something is wrong in any process, so that all of them stop."""
    return bool(trainer.strategy.reduce_boolean_decision(wrong, all=False))


def _from_all(trainer: Trainer, line: str) -> list[str]:
    if trainer.world_size == 1:
        return [line]
    lines = [""] * trainer.world_size
    distributed.all_gather_object(lines, line)
    return lines
