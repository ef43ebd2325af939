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
from swin_unetr.tasks import Task
from transforms.exchange import exchanged_pairs, mirrored_as_possible


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
            inference=replace(self.config.inference, **_mirrors(self.config, module.task)),
            training_scans=self.training_scans,
            provenance={**provenance, **self.facts, "versions": versions(), "commit": commit()},
        )
        save_model(module.network, folder, description=description)


def _mirrors(config: FinetuneConfig, task: Task) -> dict[str, Any]:
    """The axes whose mirror images the network gets to see in training, and the structures that are exchanged there."""
    augment = mirrored_as_possible(config.augment, task)
    axes = tuple(axis for axis, probability in enumerate(augment.flip_probability) if probability > 0)
    return {"mirror_axes": axes, "mirror_pairs": exchanged_pairs(augment, task)}
