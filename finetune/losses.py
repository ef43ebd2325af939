"""The loss of fine-tuning: soft Dice and cross-entropy."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional as F

from finetune.config import LossConfig
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task


class SegmentationLoss(nn.Module):
    """Weighted sum of MONAI's soft Dice loss and cross-entropy (BTCV: both; BraTS: Dice on sigmoids alone).

    Args:
        config: weights and variants.
        task: softmax or sigmoid, and how many output channels.

    Raises:
        ConfigError: `class_weights` has not one weight for each output channel.
    """

    weights: Tensor | None

    def __init__(self, config: LossConfig, task: Task) -> None:
        super().__init__()
        self._config = config
        self._softmax = task.activation == "softmax"
        weights = config.class_weights
        if weights is not None and len(weights) != task.num_classes:
            raise ConfigError(
                f"loss.class_weights: {len(weights)} values for the {task.num_classes} output channels of {task.name}"
            )
        self.register_buffer(
            "weights", None if weights is None else torch.tensor(weights, dtype=torch.float32), persistent=False
        )
        in_dice = config.include_background or not self._softmax
        self._dice = DiceLoss(
            include_background=in_dice,
            to_onehot_y=self._softmax,
            softmax=self._softmax,
            sigmoid=not self._softmax,
            squared_pred=config.squared,
            batch=config.batch,
            weight=weights if weights is None or in_dice else weights[1:],
        )

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The loss, a scalar in float32.

        Args:
            scores: B x C x X x Y x Z, before the activation.
            targets: class indices B x 1 x X x Y x Z (softmax) or regions of 0 and 1, B x C x X x Y x Z (sigmoid).
        """
        scores = scores.float()  # bfloat16 has too few digits for sums over a volume
        loss = scores.new_zeros(())
        if self._config.dice:
            loss = loss + self._config.dice * self._dice(scores, targets)
        if self._config.cross_entropy:
            loss = loss + self._config.cross_entropy * self._cross_entropy(scores, targets)
        return loss

    def _cross_entropy(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self._softmax:
            return F.cross_entropy(scores, targets[:, 0].long(), weight=self.weights)
        weights = None if self.weights is None else self.weights[:, None, None, None]
        return F.binary_cross_entropy_with_logits(scores, targets.float(), weight=weights)
