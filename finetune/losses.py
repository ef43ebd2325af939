"""The loss of fine-tuning: soft Dice and cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from finetune.batch_dice import batch_dice, crop_dice, partial_batch_dice, partial_crop_dice
from finetune.config import LossConfig
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task
from swin_unetr.training.across_processes import weighted_mean
from transforms.labels import ignored_value


class SegmentationLoss(nn.Module):
    """Weighted sum of soft Dice loss and cross-entropy (BTCV: both; BraTS: Dice on sigmoids alone).

    Voxels that the targets mark as ignored have no part in either: their scores get no gradient at all.

    Structures that were not looked for in a case are one class with background there (the marginal loss of Shi et al.,
    Medical Image Analysis 70:101979, 2021): their probabilities are added, and they have no Dice. Regions that were not
    looked for have no loss.

    Args:
        config: weights and variants.
        task: softmax or sigmoid, and how many output channels.
        class_weights: of each output channel. If None, those of the configuration.

    Raises:
        ConfigError: `class_weights` does not have one weight for each output channel.
    """

    weights: Tensor | None

    def __init__(self, config: LossConfig, task: Task, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self._config = config
        self._softmax = task.activation == "softmax"
        self._ignores = task.ignore_label is not None
        weights = config.class_weights if class_weights is None else class_weights
        if isinstance(weights, str):
            raise ConfigError(f"loss.class_weights: {weights!r} are to be counted first; see finetune.class_weights")
        if weights is not None and len(weights) != task.num_classes:
            raise ConfigError(
                f"loss.class_weights: {len(weights)} values for the {task.num_classes} output channels of {task.name}"
            )
        self.register_buffer(
            "weights", None if weights is None else torch.tensor(weights, dtype=torch.float32), persistent=False
        )
        #: First channel that counts in the Dice.
        self._first = 0 if config.include_background or not self._softmax else 1

    def forward(self, scores: Tensor, targets: Tensor, labelled: Tensor | None = None) -> Tensor:
        """The loss, a scalar in float32.

        Args:
            scores: B x C x X x Y x Z, before the activation.
            targets: class indices B x 1 x X x Y x Z (softmax) or regions of 0 and 1, B x C x X x Y x Z (sigmoid);
                `ignored_value` in every channel where a voxel does not count.
            labelled: B x C bool, whether each channel was looked for in the case of a crop; background always is. If
                None, all were.
        """
        scores = scores.float()  # bfloat16 has too few digits for sums over a volume
        counts: Tensor | None = None
        if self._ignores:
            counts = targets[:, :1] != ignored_value(targets)
            targets = targets.masked_fill(~counts, 0)
        if labelled is not None and self._softmax:
            scores, targets = merged(scores, targets, labelled)
        loss = scores.new_zeros(())
        if self._config.dice:
            loss = loss + self._config.dice * self._dice(scores, targets, counts, labelled)
        if self._config.cross_entropy:
            loss = loss + self._config.cross_entropy * self._cross_entropy(scores, targets, counts, labelled)
        return loss

    def _dice(self, scores: Tensor, targets: Tensor, counts: Tensor | None, labelled: Tensor | None) -> Tensor:
        """Dice of what the activation gives; a voxel that is 0 in both has no part in it."""
        if self._softmax:
            shares, truth = scores.softmax(dim=1), torch.zeros_like(scores).scatter_(1, targets.long(), 1.0)
        else:
            shares, truth = scores.sigmoid(), targets.float()
        if counts is not None:
            shares, truth = shares * counts, truth * counts
        shares, truth = shares[:, self._first :], truth[:, self._first :]
        weights = None if self.weights is None else self.weights[self._first :]
        if labelled is not None:
            of_classes = partial_batch_dice if self._config.batch else partial_crop_dice
            return of_classes(shares, truth, labelled[:, self._first :], weights, squared=self._config.squared)
        losses = (batch_dice if self._config.batch else crop_dice)(shares, truth, squared=self._config.squared)
        return (losses if weights is None else losses * weights).mean()

    def _cross_entropy(self, scores: Tensor, targets: Tensor, counts: Tensor | None, labelled: Tensor | None) -> Tensor:
        """Mean over the voxels that count: of exclusive classes by the weight of each voxel's class, as torch has it.

        Of regions the mean is over voxels and regions, whatever the weights.
        """
        if not self._softmax:
            return self._of_regions(scores, targets.float(), counts, labelled)
        classes = targets[:, 0].long()
        if counts is None and self.weights is None:
            return F.cross_entropy(scores, classes)
        of_voxels = torch.ones_like(scores[:, 0]) if self.weights is None else self.weights[classes]
        if counts is not None:
            of_voxels = of_voxels * counts[:, 0]
        each = F.cross_entropy(scores, classes, reduction="none")
        return weighted_mean((each * of_voxels).sum(), of_voxels.sum())

    def _of_regions(self, scores: Tensor, targets: Tensor, counts: Tensor | None, labelled: Tensor | None) -> Tensor:
        """Binary cross-entropy of regions, over the voxels that count and the regions that were looked for."""
        weights = None if self.weights is None else self.weights[:, None, None, None]
        if counts is None:
            if labelled is None:
                return F.binary_cross_entropy_with_logits(scores, targets, weight=weights)
            known = labelled[:, :, None, None, None].expand_as(scores).float()
            known_weights = known if weights is None else known * weights
            mean = F.binary_cross_entropy_with_logits(scores, targets, weight=known_weights)
            return mean * weighted_mean(known.any() * mean.new_tensor(known.numel()), known.sum())
        each = F.binary_cross_entropy_with_logits(scores, targets, weight=weights, reduction="none")
        if labelled is None:
            return weighted_mean((each * counts).sum(), counts.sum().float() * scores.shape[1])
        both = labelled[:, :, None, None, None] & counts
        return weighted_mean((each * both).sum(), both.sum().float())


def merged(scores: Tensor, targets: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and targets in which background stands for all classes that were not looked for in a crop.

    The softmax of the new scores gives background the sum of their probabilities, and them none.

    Args:
        scores: B x C x X x Y x Z, before the softmax.
        targets: class indices, B x 1 x X x Y x Z.
        labelled: B x C bool; background, the first, is true.

    Returns:
        The same shapes. If everything was looked for, both are unchanged to the last bit, and so are gradients.
    """
    hidden = ~labelled[:, :, None, None, None]
    hidden_or_background = hidden.index_fill(1, torch.zeros(1, dtype=torch.int64, device=hidden.device), True)
    nothing = -torch.inf
    background = scores.masked_fill(~hidden_or_background, nothing).logsumexp(dim=1, keepdim=True)
    classes = torch.arange(scores.shape[1], device=scores.device) * labelled  # of a class that is hidden: background
    flat = classes.gather(1, targets.flatten(1).long())
    together = torch.cat([background, scores[:, 1:].masked_fill(hidden[:, 1:], nothing)], dim=1)
    return together, flat.view(targets.shape)
