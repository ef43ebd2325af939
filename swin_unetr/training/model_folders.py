"""Model folders that are written while training goes on: the best one and the last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lightning.pytorch import Callback, LightningModule, Trainer

from swin_unetr.training.averaging import weights_to_keep
from swin_unetr.training.choice import HIGHEST, reason_to_keep

#: What the names of scores of a validation begin with.
_VALIDATION = "val/"


class SaveModel(Protocol):
    """Writes the module's network as a model folder, with what is known of its training."""

    def __call__(self, module: LightningModule, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write the folder, whole or not at all."""


class ModelFolders(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """After each validation writes `last/`, and `best/` if `choice.reason_to_keep` gives a reason.

    While training goes on, `best/` has the model with the highest score so far, so that a run that is stopped can be
    used. At the end it takes the last model, unless training has collapsed.

    Args:
        run_folder: holds the two folders.
        monitor: name of the score that decides; higher is better.
        save: writes one folder.
    """

    def __init__(self, run_folder: Path, monitor: str, save: SaveModel) -> None:
        self._run_folder = run_folder
        self._monitor = monitor
        self._save = save
        #: If set, `best/` takes every model, for this reason; nothing is chosen by the score.
        self.always_last: str | None = None
        #: Epoch (from 1) and validation scores of the model in `best/`, and why it is there; empty before the first
        #: validation.
        self.best: dict[str, Any] = {}
        #: Whether the last validation had the highest score so far.
        self.is_highest = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the weights that were validated: the averaged ones, if weights are averaged."""
        scores = {name: float(value) for name, value in trainer.callback_metrics.items() if _is_of_validation(name)}
        score, best = scores[self._monitor], math.nan
        if self.best:
            best = self.best["scores"].get(self._monitor, math.nan)  # an earlier version chose by another score
        # Early stopping, which is called before, says by `should_stop` that this was the last validation.
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        reason = self.always_last or reason_to_keep(score, best, ends=ends)
        self.is_highest = self.always_last is None and reason_to_keep(score, best, ends=False) == HIGHEST
        state = {"epoch": trainer.current_epoch + 1, "scores": scores, "reason": reason}
        if reason is not None:
            self.best = state
        elif ends:
            fell = "no number" if math.isnan(score) else f"{score:.4f}"
            self.best = {**self.best, "reason": f"highest score, {best:.4f}: the training ended with {fell}"}
        with weights_to_keep(trainer, pl_module):  # all processes take part; the first one writes
            if trainer.is_global_zero:
                for name in ("last", "best") if reason is not None else ("last",):
                    self._save(pl_module, self._run_folder / name, state)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best = state_dict["best"]


def _is_of_validation(name: str) -> bool:
    return name.startswith(_VALIDATION)
