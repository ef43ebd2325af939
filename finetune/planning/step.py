"""A training step without a training: to count its memory and its seconds."""

from __future__ import annotations

import torch
from torch import Tensor

from finetune.config import FinetuneConfig
from finetune.module import FinetuneModule
from finetune.unlabelled_crops import STRONG, WEAK
from swin_unetr.planning.footprint import BatchShapes
from swin_unetr.tasks import Task
from transforms.labels import target_type


class LoneModule(FinetuneModule):
    """Takes its own weights for those of its teacher, which are as many and are counted apart."""

    def teacher_scores(self, image: Tensor) -> Tensor:
        """Scores without gradients."""
        with torch.no_grad():
            return self(image)  # type: ignore[no-any-return]  # torch types calls loosely

    def share_spent(self) -> float:
        """The weight of the consistency does not matter here."""
        return 1.0


def batch_shapes(config: FinetuneConfig, task: Task) -> BatchShapes:
    """Shapes and types of what a step gets; with scans without labels, both views of their crops too."""
    sampling, channels = config.sampling, len(task.channels)
    crops = sampling.scans_per_batch * sampling.crops_per_scan
    labels = task.num_classes if task.activation == "sigmoid" else 1
    shapes = {
        "image": ((crops, channels, *sampling.crop_size), torch.float32),
        "label": ((crops, labels, *sampling.crop_size), target_type(task)),
    }
    if config.unlabelled.paths:
        view = ((config.unlabelled.batch_size, channels, *sampling.crop_size), torch.float32)
        shapes |= {WEAK: view, STRONG: view}
    return shapes
