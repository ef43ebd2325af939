"""What a model folder says of itself in `model.json`, beside its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
from swin_unetr.tasks import Task


@dataclass(frozen=True, kw_only=True)
class ComponentRule:
    """Which connected components of a structure (26 neighbours) a prediction keeps."""

    #: Name of the target.
    structure: str
    #: Keep the largest component alone.
    largest_only: bool = False
    #: Remove components below this volume in mm^3; 0 removes none.
    min_volume_mm3: float = 0.0
    #: The reason for it, for people.
    reason: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.min_volume_mm3 < math.inf:
            raise ValueError(f"min_volume_mm3: must be a number of at least 0, got {self.min_volume_mm3}")

    def __str__(self) -> str:
        words = ["the largest component alone is kept"] if self.largest_only else []
        words += [f"components below {self.min_volume_mm3:g} mm^3 are removed"] if self.min_volume_mm3 else []
        return f"{self.structure}: {', and '.join(words) or 'every component is kept'}"


@dataclass(frozen=True, kw_only=True)
class ChannelValues:
    """Values of one channel over training scans, as they are in the files."""

    #: Smallest and largest, over the scans, of percentile 0.5.
    lowest: tuple[float, float]
    #: The same of percentile 99.5.
    highest: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class TrainingScans:
    """What a model's training scans had in common: a scan that is nothing like them gets a warning."""

    #: How many scans were looked at.
    looked_at: int
    #: Smallest and largest voxel edge.
    spacing_mm: tuple[float, float]
    channels: tuple[ChannelValues, ...]


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Everything but the weights that is needed to use a model."""

    #: "segmentation": a whole network. Pre-trained: "encoder", the Swin encoder alone, or "body", a Swin UNETR without
    #: its output layer.
    kind: Literal["segmentation", "encoder", "body"]
    network: NetworkConfig
    #: None for a pre-trained one.
    task: Task | None = None
    preprocess: PreprocessConfig = PreprocessConfig()
    #: False for published weights that do not say how their scans were prepared; `preprocess` then means nothing.
    preprocess_known: bool = True
    inference: InferenceConfig = InferenceConfig()
    #: What is removed from a prediction, on the grid of the scan; learnt if a cross-validation showed that it helps.
    postprocess: tuple[ComponentRule, ...] = ()
    #: If None, nothing is known of them; no label depends on it.
    training_scans: TrainingScans | None = None
    #: How it was made: versions, seed, commit, data, scores. For people; nothing depends on it.
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "segmentation":
            if self.task is None:
                raise ValueError("task: a segmentation model needs one")
            if self.task.num_classes != self.network.num_classes:
                raise ValueError(
                    f"network.num_classes: {self.network.num_classes}, but the task has {self.task.num_classes}"
                )
            self.preprocess.intensities(self.task.channels)  # refuses channels that the task does not have
            names = {target.name for target in self.task.targets}
            paired = [name for pair in self.inference.mirror_pairs for name in pair]
            if strange := [name for name in paired if name not in names]:
                raise ValueError(f"inference.mirror_pairs: the task has no structure {strange[0]!r}")
            if unknown := [rule.structure for rule in self.postprocess if rule.structure not in names]:
                raise ValueError(f"postprocess: the task has no structure {unknown[0]!r}")
