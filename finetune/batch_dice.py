"""Soft Dice of every crop, and of a whole batch, which several processes may share."""

from __future__ import annotations

import torch
from torch import Tensor

from swin_unetr.training.across_processes import summed, weighted_mean

#: Keeps the Dice of what is empty in both at 1, as MONAI's loss does.
_SMOOTH = 1e-5


def batch_dice(probabilities: Tensor, targets: Tensor, *, squared: bool = False) -> Tensor:
    """Soft Dice loss of each channel, with sums over the batch before the division (Milletari et al., 1606.04797).

    The batch is that of all processes that train together: two processes with a crop each give the loss, and after
    the mean over processes the gradients, of one process with both crops.

    Args:
        probabilities: B x C x X x Y x Z in float32.
        targets: 0 or 1, of the same shape.
        squared: square the terms of the denominator.

    Returns:
        C losses in 0..1.
    """
    return _losses(summed(_overlap(probabilities, targets, squared).sum(dim=1)))


def crop_dice(probabilities: Tensor, targets: Tensor, *, squared: bool = False) -> Tensor:
    """The same of every crop by itself: B x C losses in 0..1, those of MONAI's `DiceLoss`."""
    return _losses(_overlap(probabilities, targets, squared))


def partial_batch_dice(
    probabilities: Tensor, targets: Tensor, labelled: Tensor, weights: Tensor | None = None, *, squared: bool = False
) -> Tensor:
    """Mean of `batch_dice` over the channels that were looked for; each sums over the crops in which it was.

    Args:
        probabilities: B x C x X x Y x Z in float32.
        targets: 0 or 1, of the same shape.
        labelled: B x C bool, whether a channel was looked for in the case of a crop.
        weights: of each channel. If None, all are 1.
        squared: square the terms of the denominator.

    Returns:
        A scalar; 0 if nothing was looked for in any crop.
    """
    overlap = torch.cat([_overlap(probabilities, targets, squared) * labelled, labelled[None].float()])
    together = summed(overlap.sum(dim=1))
    losses = _losses(together[:2]) if weights is None else _losses(together[:2]) * weights
    known = together[2] > 0
    return (losses * known).sum() / known.sum().clamp(min=1)


def partial_crop_dice(
    probabilities: Tensor, targets: Tensor, labelled: Tensor, weights: Tensor | None = None, *, squared: bool = False
) -> Tensor:
    """Mean of `crop_dice` over the channels of each crop that were looked for; see `partial_batch_dice`."""
    losses = crop_dice(probabilities, targets, squared=squared)
    losses = losses if weights is None else losses * weights
    return weighted_mean((losses * labelled).sum(), labelled.sum().float())


def _overlap(probabilities: Tensor, targets: Tensor, squared: bool) -> Tensor:
    """What both share and their sizes together, 2 x B x C."""
    axes = tuple(range(2, probabilities.ndim))
    targets = targets.to(probabilities.dtype)
    sizes = probabilities.square() + targets.square() if squared else probabilities + targets
    return torch.stack([(probabilities * targets).sum(axes), sizes.sum(axes)])


def _losses(overlap: Tensor) -> Tensor:
    """From what both share and their sizes together."""
    losses: Tensor = 1 - (2 * overlap[0] + _SMOOTH) / (overlap[1] + _SMOOTH)
    return losses
