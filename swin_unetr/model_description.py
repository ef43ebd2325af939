"""What a model folder says of itself in `model.json`, beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
from swin_unetr.tasks import Task


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """Everything but the weights that it takes to use a model."""

    #: "segmentation": a whole Swin UNETR. "encoder": a pre-trained Swin encoder alone.
    kind: Literal["segmentation", "encoder"]
    network: NetworkConfig
    #: None for an encoder.
    task: Task | None = None
    preprocess: PreprocessConfig = PreprocessConfig()
    inference: InferenceConfig = InferenceConfig()
    #: How it came to be: versions, seed, commit, data, scores. For people; nothing depends on it.
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind == "segmentation":
            if self.task is None:
                raise ValueError("task: a segmentation model needs one")
            if self.task.num_classes != self.network.num_classes:
                raise ValueError(
                    f"network.num_classes: {self.network.num_classes}, but the task has {self.task.num_classes}"
                )
