"""The model folders that a fine-tuning writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from finetune.config import FinetuneConfig
from swin_unetr.checkpoints import save_model
from swin_unetr.model_description import ModelDescription, TrainingScans
from swin_unetr.provenance import commit, versions


@dataclass(frozen=True)
class SaveFinetuned:
    """Writes the network in training as a model folder."""

    config: FinetuneConfig
    facts: Mapping[str, Any]
    training_scans: TrainingScans | None

    def __call__(self, module: LightningModule, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Write the folder, whole or not at all."""
        description = ModelDescription(
            kind="segmentation",
            network=self.config.network,
            task=module.task,
            preprocess=self.config.preprocess,
            inference=replace(self.config.inference, mirror_axes=_mirrored_axes(self.config)),
            training_scans=self.training_scans,
            provenance={**provenance, **self.facts, "versions": versions(), "commit": commit()},
        )
        save_model(module.network, folder, description=description)


def _mirrored_axes(config: FinetuneConfig) -> tuple[int, ...]:
    """The axes whose mirror images the network gets to see in training."""
    return tuple(axis for axis, probability in enumerate(config.augment.flip_probability) if probability > 0)
