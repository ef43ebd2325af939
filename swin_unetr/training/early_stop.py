"""Ends a training whose score no longer rises."""

from __future__ import annotations

import math

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class EarlyStop(EarlyStopping):  # type: ignore[misc]  # Lightning is untyped here
    """Lightning's `EarlyStopping` on a score that rises; a validation without a score is not counted.

    Args:
        monitor: name of the score.
        patience: validations without a better one after which training ends.
    """

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, mode="max", patience=patience, check_finite=False, check_on_train_epoch_end=False)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare, unless the score is NaN."""
        score = trainer.callback_metrics.get(self.monitor)
        if score is None or not math.isnan(float(score)):  # Lightning reports a missing one
            super().on_validation_end(trainer, pl_module)
