"""Training crops joined to batches, and changed at random: where they are read, or on the device that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from finetune.partial_labels import LABELLED
from finetune.unlabelled_crops import UNLABELLED, views
from swin_unetr.config import AugmentConfig
from swin_unetr.errors import ConfigError, SwinUnetrError
from transforms.augment import change
from transforms.crops import Sample, joined
from transforms.monai_changes import MonaiChanges
from transforms.random_parameters import monai_seeds

#: What a step gets: tensors by name. Before that also "changes", which are still to be made to them, and "wide", the
#: surroundings of the crops that are rotated (`transforms.augment.Wide`).
Batch = dict[str, Any]


class Batches:
    """Joins the crops of several visits, and changes them at random: at once, or later on the device.

    Args:
        augment: what is changed.
        at_once: change them here, in the process that reads; always so with transforms of MONAI.
        beside: how many of the visits, the last ones, are of scans without labels.
    """

    def __init__(self, augment: AugmentConfig, *, at_once: bool, beside: int = 0) -> None:
        self._augment, self._beside = augment, beside
        self._monai = MonaiChanges(augment.monai) if augment.monai else None
        self._at_once = at_once or self._monai is not None

    def __call__(self, visits: Sequence[list[Sample] | SwinUnetrError]) -> Batch | SwinUnetrError:
        """A batch of "image" and "label", B x C x X x Y x Z, and what is still to be done to it; or an error.

        If not everything was looked for in every case, also "labelled": B x C bool for the channels of the network.
        With scans without labels, also their "weak" and "strong" crops, or "unlabelled", of which both are made.
        """
        crops: list[Sample] = []
        for visit in visits:
            if isinstance(visit, SwinUnetrError):
                return visit
            crops += visit
        batch: Batch = {}
        if self._beside:  # a visit of these gives one crop
            crops, others = crops[: -self._beside], crops[-self._beside :]
            batch[UNLABELLED] = self._joined(others)
        batch |= self._joined(crops)
        if LABELLED in crops[0]:
            batch[LABELLED] = torch.stack([crop[LABELLED] for crop in crops])
        if not self._at_once:
            return batch
        if self._monai is None:
            return changed(batch)
        try:
            return self._by_monai(changed(batch), monai_seeds(torch.stack([crop["draws"] for crop in crops])))
        except ConfigError as error:
            return error

    def _joined(self, crops: Sequence[Sample]) -> Batch:
        image, label, changes, wide = joined(crops, self._augment)
        return {"image": image, "label": label, "changes": changes, "wide": wide}

    def _by_monai(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The transforms of MONAI, made to each crop in place."""
        assert self._monai is not None
        for image, label, seed in zip(batch["image"], batch["label"], seeds, strict=True):
            new, labels = self._monai(image, label, seed)
            image.copy_(new)
            label.copy_(labels)
        return batch


def changed(batch: Batch) -> Batch:
    """A batch whose changes are made, in place."""
    if (changes := batch.pop("changes", None)) is not None:
        change(batch["image"], batch["label"], changes, batch.pop("wide"))
    if (unlabelled := batch.pop(UNLABELLED, None)) is not None:
        batch |= views(unlabelled)
    return batch
