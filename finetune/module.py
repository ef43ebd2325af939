"""What Lightning trains: network, loss, optimiser, validation on whole scans."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from finetune.config import FinetuneConfig
from finetune.consistency import CONFIDENT, CONSISTENCY, consistency, weight_at
from finetune.deep_supervision import AuxiliaryHeads, supervise
from finetune.losses import SegmentationLoss
from finetune.partial_labels import LABELLED
from finetune.unlabelled_crops import STRONG, WEAK
from finetune.validation import POOLED, SMOOTHED, ValidationScores, score_names
from swin_unetr.errors import SwinUnetrError
from swin_unetr.inference.engine.sliding_window import slide
from swin_unetr.inference.engine.windows import lay_windows
from swin_unetr.networks import SegmentationNetwork, SwinUNETR
from swin_unetr.tasks import Task
from swin_unetr.training.averaging import average_of
from swin_unetr.training.budget import configure_optimizers, share_spent
from swin_unetr.training.carried_over import freeze, groups_of
from swin_unetr.training.choice import SmoothedScore
from swin_unetr.training.decay import parameter_groups
from swin_unetr.training.gradient_clip import clip_gradients

#: Key in a checkpoint of the average of the scores so far.
_AVERAGE = "smoothed_score"


def metric_names(task: Task, *, unlabelled: bool) -> tuple[str, ...]:
    """Names of what is logged, in the order of a table's columns.

    Args:
        task: its structures have scores.
        unlabelled: whether there are crops without labels.
    """
    return ("train/loss", *((CONSISTENCY, CONFIDENT) if unlabelled else ()), *score_names(task))


class FinetuneModule(LightningModule):  # type: ignore[misc]  # Lightning is untyped here
    """Trains a network on crops, and validates it on whole scans by sliding window.

    Args:
        network: maps B x channels x X x Y x Z to B x classes x X x Y x Z.
        task: what the classes mean.
        config: loss, optimiser, windows; its speed settled.
        class_weights: of the loss, if the configuration does not give them.
        deciding: for each structure of the task whether the model is chosen by it. If None, by all.
        carried: names of the network's tensors that were carried over, if they are trained differently from fresh ones.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        task: Task,
        config: FinetuneConfig,
        class_weights: Sequence[float] | None = None,
        deciding: Sequence[bool] | None = None,
        carried: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.auxiliary: AuxiliaryHeads | None = None
        if config.deep_supervision:
            assert isinstance(network, SwinUNETR)  # the configuration refuses it for others
            self.auxiliary = AuxiliaryHeads(network)
        self.task = task
        self._config = config
        self._loss = SegmentationLoss(config.loss, task, class_weights)
        self._deciding = (True,) * len(task.targets) if deciding is None else tuple(deciding)
        # Not buffers: those are swapped with the averaged model's around a validation.
        self._scores = ValidationScores(task, self._deciding, torch.device("cpu"))
        self._smoothed = SmoothedScore()
        self._carried = frozenset(carried)
        #: Of the last step: the consistency with the teacher, and the share of voxels of which the teacher was sure.
        self.taught: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Scores of a batch of crops."""
        scores: Tensor = self.network(image)
        return scores

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch of crops; with crops that have no labels, what is learnt of them is part of it."""
        image, labelled = batch["image"], batch.get(LABELLED)
        strong = batch.get(STRONG)
        if strong is not None:  # one pass for both: a weight is used once
            image = torch.cat([image, strong])
        scores = [self.network(image)] if self.auxiliary is None else self.auxiliary(self.network, image)
        finest = scores[0]
        if strong is not None:
            scores = [each[: -len(strong)] for each in scores]
        if self.auxiliary is None:
            loss: Tensor = self._loss(scores[0], batch["label"], labelled)
        else:
            loss = supervise(self._loss, scores, batch["label"], labelled)
        if strong is None:
            return loss
        config = self._config.unlabelled
        teacher = self.teacher_scores(batch[WEAK])
        taught, confident = consistency(finest[-len(strong) :], teacher, self.task, config.confidence)
        self.taught = torch.stack([taught.detach(), confident])
        return loss + weight_at(self.share_spent(), config) * taught

    def teacher_scores(self, image: Tensor) -> Tensor:
        """Scores of the teacher: of the averaged weights."""
        average = average_of(self.trainer)
        assert average is not None  # `unlabelled.with_teacher` sees to it
        return average.scores(image)

    def share_spent(self) -> float:
        """Share of the training that is spent before this step."""
        return share_spent(self.trainer, self._config.trainer)

    def on_validation_epoch_start(self) -> None:
        """Forget the scores of the last validation."""
        self._scores = ValidationScores(self.task, self._deciding, self.device)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Segment one scan and score it; a process without a scan gets an empty batch."""
        if batch:
            inference = replace(self._config.inference, overlap=self._config.validation_overlap)
            self._scores.add(slide(batch["image"], self.network, inference), batch["label"], batch.get(LABELLED))

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all processes' scans, and the smoothed one that decides."""
        scores = self._scores.summary(lambda values: self.trainer.strategy.reduce(values.clone(), reduce_op="sum"))
        self.log_dict({SMOOTHED: self._smoothed.add(scores[POOLED]), **scores}, batch_size=1)

    def validation_seconds(self) -> float:
        """Seconds that a validation takes in this process: one scan is segmented, and the windows of all counted.

        A budget of time asks for it before the first validation.
        """
        data: Any = self.trainer.datamodule
        inference = replace(self._config.inference, overlap=self._config.validation_overlap)
        windows = [len(lay_windows(shape, inference)) for shape in data.validation_shapes()]
        started = time.monotonic()
        scan = data.first_validated()
        if isinstance(scan, SwinUnetrError):
            raise scan
        self.on_validation_epoch_start()
        self.eval()
        with torch.no_grad(), self.trainer.precision_plugin.val_step_context():
            self.validation_step({name: values.to(self.device) for name, values in scan.items()}, 0)
        self.train()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return (time.monotonic() - started) * sum(windows) / max(1, *windows[:1])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the average of the scores."""
        checkpoint[_AVERAGE] = self._smoothed.value

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the average; checkpoints of earlier versions do not have it."""
        self._smoothed = SmoothedScore(checkpoint.get(_AVERAGE, math.nan))

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with warm-up and cosine, stepped by optimiser steps."""
        config, fused = self._config, self._config.speed.fused_optimizer is True
        if not self._carried:
            groups = parameter_groups(self, config.optimizer)
            return configure_optimizers(self.trainer, groups, config.optimizer, config.trainer, fused)
        divided = groups_of(self, self.network, self._carried, config.transfer, config.optimizer)
        return configure_optimizers(self.trainer, divided, config.optimizer, config.trainer, fused, config.transfer)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Leave out carried-over weights that are frozen."""
        freeze(optimizer)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of the gradients."""
        if gradient_clip_val is not None:
            clip_gradients(self.parameters(), gradient_clip_val)
