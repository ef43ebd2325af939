"""Model folders that are written while a pre-training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pretrain.config import PretrainConfig
from swin_unetr.checkpoints import save_model
from swin_unetr.model_description import ModelDescription
from swin_unetr.provenance import commit, versions
from swin_unetr.training.averaging import weights_to_keep


@dataclass(frozen=True)
class SaveEncoder:
    """Writes the encoder in training as a model folder; or the whole network, if it is trained."""

    config: PretrainConfig
    facts: Mapping[str, Any]

    def __call__(self, module: LightningModule, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write the folder, whole or not at all."""
        description = ModelDescription(
            kind="body" if self.config.proxies.whole_network else "encoder",
            network=self.config.network,
            preprocess=self.config.preprocess,
            provenance={**provenance, **self.facts, "versions": versions(), "commit": commit()},
        )
        save_model(module.kept, folder, description=description)


class EncoderFolders(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Writes `last/` and `best/` every so many epochs and after the last.

    Both hold the latest encoder. Neither the losses of the tasks nor the probe show how well an encoder transfers: on
    Hippocampus, untrained encoders had a higher score in the probe than encoders of fine-tuned networks.

    Args:
        run_folder: where the two folders are written.
        every: epochs.
        save: writes one folder.
    """

    def __init__(self, run_folder: Path, *, every: int, save: SaveEncoder) -> None:
        self._run_folder, self._every, self._save = run_folder, every, save
        #: Epoch (from 1) and figures of the encoder that is written; empty before the first.
        self.best: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is due, with the averaged weights where weights are averaged."""
        epoch = trainer.current_epoch + 1
        if epoch % self._every and epoch != trainer.max_epochs:
            return
        self.best = {
            "epoch": epoch,
            "scores": {name: float(value) for name, value in trainer.callback_metrics.items()},
        }
        with weights_to_keep(trainer, pl_module):  # all processes take part; the first one writes
            if trainer.is_global_zero:
                for name in ("last", "best"):
                    self._save(pl_module, self._run_folder / name, self.best)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best = state_dict["best"]
