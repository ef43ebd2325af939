"""What Lightning trains: network, loss, optimiser, validation on whole scans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from finetune.config import FinetuneConfig
from finetune.deep_supervision import AuxiliaryHeads, supervise
from finetune.losses import SegmentationLoss
from swin_unetr.inference.sliding_window import slide
from swin_unetr.networks import SwinUNETR
from swin_unetr.tasks import Task
from swin_unetr.training.gradient_clip import clip_gradients
from swin_unetr.training.optimizer import build_optimizer
from transforms.labels import IGNORED

#: Name of the score by which the best model is chosen: the mean over structures of their mean over cases.
MONITOR = "val/dice"


def metric_names(task: Task) -> tuple[str, ...]:
    """Names of what is logged, the scores of single structures last."""
    return ("train/loss", MONITOR, *(f"{MONITOR}/{target.name}" for target in task.targets))


def dice_per_target(scores: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Dice of every structure of one scan; not a number where it is empty in both.

    Args:
        scores: C x X x Y x Z, before the activation.
        targets: encoded as for the loss: 1 x X x Y x Z class indices, or C x X x Y x Z regions; where they are
            `IGNORED`, nothing counts.
        task: softmax or sigmoid.

    Returns:
        One value for each target of the task, without background.
    """
    if task.activation == "softmax":
        classes = torch.arange(1, task.num_classes, device=scores.device)[:, None, None, None]
        predicted, truth = scores.argmax(dim=0) == classes, targets == classes
    else:
        predicted, truth = scores > 0, targets == 1  # sigmoid(0) = 0.5
    if task.ignore_label is not None:
        predicted = predicted & (targets[:1] != IGNORED)
    shared, sizes = (predicted & truth).sum((1, 2, 3)), predicted.sum((1, 2, 3)) + truth.sum((1, 2, 3))
    return 2 * shared / sizes


class FinetuneModule(LightningModule):  # type: ignore[misc]  # Lightning is untyped here
    """Trains a network on crops, and validates it on whole scans by sliding window.

    Args:
        network: maps B x channels x X x Y x Z to B x classes x X x Y x Z.
        task: what the classes mean.
        config: loss, optimiser, windows; its speed settled.
        class_weights: of the loss, where they do not stand in the configuration.
    """

    def __init__(
        self, network: SwinUNETR, task: Task, config: FinetuneConfig, class_weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.auxiliary = AuxiliaryHeads(network) if config.deep_supervision else None
        self.task = task
        self._config = config
        self._loss = SegmentationLoss(config.loss, task, class_weights)
        # Sum of the Dice of the cases of this process, and how many of them are numbers; for each target. Not a
        # buffer: those change places with the averaged model's around a validation.
        self._dice_sums = torch.zeros(2, len(task.targets))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch of crops."""
        if self.auxiliary is not None:
            return supervise(self._loss, self.auxiliary(self.network, batch["image"]), batch["label"])
        loss: Tensor = self._loss(self.network(batch["image"]), batch["label"])
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of the last validation."""
        self._dice_sums = torch.zeros(2, len(self.task.targets), device=self.device)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Segment one scan and score it; an empty batch is that of a process that has none."""
        if not batch:
            return
        inference = replace(self._config.inference, overlap=self._config.validation_overlap)
        scores = slide(batch["image"], self.network, inference)
        dice = dice_per_target(scores, batch["label"], self.task)
        self._dice_sums[0] += torch.nan_to_num(dice)
        self._dice_sums[1] += ~dice.isnan()

    def on_validation_epoch_end(self) -> None:
        """Log the means: of each structure over the cases that have it, and of those means."""
        sums, counts = self.trainer.strategy.reduce(self._dice_sums.clone(), reduce_op="sum")
        means = sums / counts
        names = metric_names(self.task)[1:]
        self.log_dict(dict(zip(names, (means.nanmean(), *means), strict=True)), batch_size=1)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with warm-up and cosine, stepped by optimiser steps."""
        trainer = self._config.trainer
        steps_per_epoch = math.ceil(self.trainer.datamodule.steps_per_epoch / trainer.accumulate_batches)
        optimizer, schedule = build_optimizer(
            self.parameters(),
            self._config.optimizer,
            steps_per_epoch=steps_per_epoch,
            total_steps=steps_per_epoch * trainer.max_epochs,
            fused=self._config.speed.fused_optimizer is True,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of the gradients."""
        if gradient_clip_val is not None:
            clip_gradients(self.parameters(), gradient_clip_val)
