"""The memory that a fine-tuning takes: the training step of its own module, traced without values."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from finetune.config import FinetuneConfig
from finetune.module import FinetuneModule
from finetune.unlabelled_crops import STRONG, WEAK
from swin_unetr.config import SpeedConfig
from swin_unetr.networks import build_network, choose_fast_paths
from swin_unetr.planning.footprint import Footprint, step_footprint
from swin_unetr.tasks import Task
from transforms.labels import target_type

#: The CPU's attention that keeps the same tensors as a GPU's fused one: queries, keys, values, result and normaliser.
_LIKE_A_GPU = SpeedConfig(attention="blockwise", memory_layout="contiguous")


def training_footprint(config: FinetuneConfig, task: Task, *, device: str) -> Footprint:
    """Bytes that a training step allocates: weights, gradients, optimiser and all that the batch needs.

    Args:
        config: network, crop, batch, loss, precision; the number of channels and classes is the task's.
        task: what is learnt.
        device: "cpu", or "cuda" for a GPU, which this machine need not have: it is modelled by the same activations.
    """
    network = replace(config.network, in_channels=len(task.channels), num_classes=task.num_classes)
    speed = config.speed if device == "cpu" or not config.speed.fast else _LIKE_A_GPU
    speed = replace(speed, compile=False, memory=None, recompute=config.speed.recompute)
    # MONAI's Dice of single crops reads a value, and these tensors have none; the batch's Dice takes as much memory.
    config = replace(config, loss=replace(config.loss, batch=True))
    counted = (1.0,) * task.num_classes if config.loss.class_weights == "frequencies" else None

    def build() -> FinetuneModule:
        module = _OwnTeacher(build_network(network), task, config, counted)
        choose_fast_paths(module.network, speed)
        return module

    def loss(module: FinetuneModule, batch: dict[str, Tensor]) -> Tensor:
        return module.training_step(batch, 0)

    sampling = config.sampling
    crops = sampling.scans_per_batch * sampling.crops_per_scan
    labels = task.num_classes if task.activation == "sigmoid" else 1
    batch = {
        "image": ((crops, len(task.channels), *sampling.crop_size), torch.float32),
        "label": ((crops, labels, *sampling.crop_size), target_type(task)),
    }
    unlabelled = config.unlabelled
    if unlabelled.paths:
        crop = ((unlabelled.batch_size, len(task.channels), *sampling.crop_size), torch.float32)
        batch |= {WEAK: crop, STRONG: crop}
    low = config.trainer.precision in ("bf16-mixed", "16-mixed")
    averaged = config.trainer.ema_decay is not None or bool(unlabelled.paths)
    return step_footprint(build, loss, batch, bfloat16=low, averaged=averaged)


class _OwnTeacher(FinetuneModule):
    """Takes its own weights for those of the teacher, which are as many and are counted apart."""

    def teacher_scores(self, image: Tensor) -> Tensor:
        """Scores without gradients."""
        with torch.no_grad():
            return self(image)  # type: ignore[no-any-return]  # torch types calls loosely

    def share_spent(self) -> float:
        """The weight of the consistency does not matter here."""
        return 1.0
