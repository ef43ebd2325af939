"""Model folders that are written while training goes on: the best one and the last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import Callback, LightningModule, Trainer

from swin_unetr.training.averaging import weights_to_keep


class SaveModel(Protocol):
    """Writes the module's network as a model folder, with what is known of how it came to be."""

    def __call__(self, module: LightningModule, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write the folder, whole or not at all."""


class ModelFolders(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """After each validation writes `last/`, and `best/` where the monitored score is the highest so far.

    Args:
        run_folder: where the two folders stand.
        monitor: name of the score.
        save: writes one folder.
    """

    def __init__(self, run_folder: Path, monitor: str, save: SaveModel) -> None:
        self._run_folder = run_folder
        self._monitor = monitor
        self._save = save
        #: Epoch (from 1) and validation scores of the best model; empty before the first validation.
        self.best: dict[str, Any] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the validation was made with: the averaged weights, where weights are averaged."""
        scores = {
            name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(self._monitor)
        }
        state = {"epoch": trainer.current_epoch + 1, "scores": scores}
        highest = self.best["scores"][self._monitor] if self.best else math.nan
        # Not a number: no score yet, or no validation case that has any structure. Then the latest is as good.
        improved = math.isnan(highest) or scores[self._monitor] > highest
        if improved:
            self.best = state
        with weights_to_keep(trainer, pl_module):  # all processes take part; the first one writes
            if trainer.is_global_zero:
                for name in ("last", "best") if improved else ("last",):
                    self._save(pl_module, self._run_folder / name, state)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best = state_dict["best"]
