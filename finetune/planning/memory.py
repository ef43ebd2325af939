"""The memory that a fine-tuning takes: the training step of its own module, traced without values."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from finetune.config import FinetuneConfig
from finetune.module import FinetuneModule
from finetune.planning.step import LoneModule, batch_shapes
from swin_unetr.config import SpeedConfig
from swin_unetr.networks import build_network, choose_fast_paths
from swin_unetr.planning.footprint import Footprint, step_footprint
from swin_unetr.tasks import Task

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
        module = LoneModule(build_network(network), task, config, counted)
        choose_fast_paths(module.network, speed)
        return module

    def loss(module: FinetuneModule, batch: dict[str, Tensor]) -> Tensor:
        return module.training_step(batch, 0)

    low = config.trainer.precision in ("bf16-mixed", "16-mixed")
    averaged = config.trainer.ema_decay is not None or bool(config.unlabelled.paths)
    return step_footprint(build, loss, batch_shapes(config, task), bfloat16=low, averaged=averaged)
