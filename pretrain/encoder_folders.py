"""Encoder folders that are written while a pre-training goes on: the best one and the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from pretrain.config import PretrainConfig
from swin_unetr.checkpoints import save_model
from swin_unetr.model_description import ModelDescription
from swin_unetr.provenance import commit, versions
from swin_unetr.training.averaging import averaged_weights


class EncoderFolders(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Writes `last/`, and `best/` where the loss is the lowest so far: every `trainer.validate_every` epochs and at the end.

    The loss is the mean over the epoch of the weighted sum of the proxies. It says how well the proxies are solved, not
    how well the encoder transfers: with a falling learning rate the best is one of the last.

    Args:
        run_folder: where the two folders stand.
        config: of the run.
        facts: how the encoder came to be, for `model.json`.
    """

    def __init__(self, run_folder: Path, config: PretrainConfig, facts: Mapping[str, Any]) -> None:
        self._run_folder = run_folder
        self._config = config
        self._facts = facts
        #: Epoch (from 1) and loss of the best encoder; empty before the first is written.
        self.best: dict[str, Any] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the averaged weights, where weights are averaged."""
        epoch = trainer.current_epoch + 1
        if epoch % self._config.trainer.validate_every and epoch != trainer.max_epochs:
            return
        state = {"epoch": epoch, "loss": float(trainer.callback_metrics["train/loss"])}
        improved = not self.best or state["loss"] < self.best["loss"]
        if improved:
            self.best = state
        if not trainer.is_global_zero:
            return
        description = ModelDescription(
            kind="encoder",
            network=self._config.network,
            preprocess=self._config.preprocess,
            provenance={**state, **self._facts, "versions": versions(), "commit": commit()},
        )
        with averaged_weights(trainer, pl_module):
            for name in ("last", "best") if improved else ("last",):
                save_model(pl_module.encoder, self._run_folder / name, description=description)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.best = state_dict["best"]
