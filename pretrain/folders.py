"""Encoder folders that are written while a pre-training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pretrain.config import PretrainConfig
from pretrain.health.callbacks import PROBE
from swin_unetr.checkpoints import save_model
from swin_unetr.model_description import ModelDescription
from swin_unetr.provenance import commit, versions
from swin_unetr.training.averaging import averaged_weights


@dataclass(frozen=True)
class SaveEncoder:
    """Writes the encoder in training as a model folder."""

    config: PretrainConfig
    facts: Mapping[str, Any]

    def __call__(self, module: LightningModule, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write the folder, whole or not at all."""
        description = ModelDescription(
            kind="encoder",
            network=self.config.network,
            preprocess=self.config.preprocess,
            provenance={**provenance, **self.facts, "versions": versions(), "commit": commit()},
        )
        save_model(module.encoder, folder, description=description)


class EncoderFolders(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Writes `last/` every so many epochs and after the last, and `best/`.

    The losses of the tasks do not tell how well an encoder transfers. So the best is the one that probed highest, where
    it is probed; otherwise it is the last.

    Args:
        run_folder: where the two folders stand.
        every: epochs.
        probe: whether it is probed.
        save: writes one folder.
    """

    def __init__(self, run_folder: Path, *, every: int, probe: bool, save: SaveEncoder) -> None:
        self._run_folder, self._every, self._probe, self._save = run_folder, every, probe, save
        #: Epoch (from 1) and scores of the best encoder; empty before the first.
        self.best: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is due, with the averaged weights where weights are averaged."""
        epoch, metrics = trainer.current_epoch + 1, trainer.callback_metrics
        if not trainer.is_global_zero:
            return
        state = {"epoch": epoch, "scores": {name: float(value) for name, value in metrics.items()}}
        due = epoch % self._every == 0 or epoch == trainer.max_epochs
        if self._probe:
            score = state["scores"].get(PROBE)
            improved = score is not None and score > self.best.get("scores", {}).get(PROBE, float("-inf"))
        else:
            improved = due
        names = [name for name, now in (("last", due), ("best", improved)) if now]
        if improved:
            self.best = state
        if names:
            with averaged_weights(trainer, pl_module):
                for name in names:
                    self._save(pl_module, self._run_folder / name, state)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best = state_dict["best"]
