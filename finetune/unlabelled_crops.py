"""Crops of scans without labels in the batches of a training: a weak view for the teacher, a strong one to learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from finetune.config import FinetuneConfig
from finetune.scans import Scans
from swin_unetr.errors import SwinUnetrError
from swin_unetr.tasks import Task
from swin_unetr.training.sampler import EndlessVisits, Visit, VisitSampler
from swin_unetr.training.step_hooks import derived_seed
from transforms.augment import recolour, turn
from transforms.crops import RandomCrops, Sample, Scan, Voxels

#: Keys of a batch: B x C x X x Y x Z each, the same crops; and that of what both are still to be made of.
WEAK, STRONG, UNLABELLED = "weak", "strong", "unlabelled"
#: Makes the random numbers of these crops others than those of the labelled ones.
_SALT = 0x5EED


class Beside(NamedTuple):
    """A visit of a scan without labels."""

    visit: Visit


class VisitsOfBoth(Sampler[list[Visit | Beside]]):
    """Batches of visits: of labelled scans, then of scans without labels, which go on over the whole training.

    Args:
        labelled: visits of labelled scans.
        batch: how many of them make a batch.
        scans: how many scans there are without labels.
        beside: visits of these in a batch.
        seed: of the run.
        trainer: of the training, which knows where it is.
    """

    def __init__(
        self, labelled: Sampler[Visit], batch: int, *, scans: int, beside: int, seed: int, trainer: Trainer
    ) -> None:
        #: Lightning tells it the epoch.
        self.sampler = labelled
        self._batch, self._beside = batch, beside
        ranks = {"rank": trainer.global_rank, "world_size": trainer.world_size}
        passes = VisitSampler(scans, batch=beside, drop_last=True, seed=derived_seed(seed, _SALT), **ranks)
        self._others = EndlessVisits(passes, trainer)

    def __len__(self) -> int:
        """Batches of an epoch; a training with a budget has no length."""
        visits = len(self.sampler)  # type: ignore[arg-type]  # torch's Sampler declares none
        return (visits + self._batch - 1) // self._batch

    def __iter__(self) -> Iterator[list[Visit | Beside]]:
        visits, others = iter(self.sampler), iter(self._others)
        while batch := list(islice(visits, self._batch)):
            yield [*batch, *map(Beside, islice(others, self._beside))]


class CropsOfBoth(Dataset[list[Sample] | SwinUnetrError]):
    """Random crops of labelled scans, and of scans without labels: one of each, anywhere in it.

    Args:
        labelled: crops of labelled scans.
        scans: those without labels.
        task: channels of the labels.
        config: size of the crops, augmentation, seed.
    """

    def __init__(
        self, labelled: Dataset[list[Sample] | SwinUnetrError], scans: Scans, task: Task, config: FinetuneConfig
    ) -> None:
        self._labelled, self._scans = labelled, scans
        sampling = replace(config.sampling, scheme="random", crops_per_scan=1)
        self._crops = RandomCrops(sampling, config.augment, task)
        self._channels = len(task.targets) if task.activation == "sigmoid" else 1
        self._seed = config.trainer.seed

    def __getitem__(self, index: Visit | Beside) -> list[Sample] | SwinUnetrError:
        if not isinstance(index, Beside):
            return self._labelled[index]
        epoch, place, scan = index.visit
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch, place, scan, _SALT))
        try:
            return self._crops(_Empty(self._scans.scan(scan), self._channels), generator)
        except SwinUnetrError as error:
            return error


class _Empty:
    """A scan without labels, as one of which everything is background.

    Args:
        scan: the scan.
        channels: of its label.
    """

    def __init__(self, scan: Scan, channels: int) -> None:
        self._scan, self._channels, self.shape = scan, channels, scan.shape

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[Voxels, Voxels]:
        """A part of it."""
        return self._scan.crop(start, size)[0], np.zeros((self._channels, *size), np.uint8)

    def places(self, which: int) -> NDArray[np.int64]:
        """Nothing is known of where classes are."""
        return np.empty(0, np.int64)


def views(crops: dict[str, Any]) -> dict[str, Tensor]:
    """The weak and the strong view of crops: both are turned and zoomed alike, one has other intensities.

    Args:
        crops: "image", "label", "changes" and "wide" of `transforms.crops.joined`; changed in place.
    """
    turn(crops["image"], crops["label"], crops["changes"], crops["wide"])
    strong = crops["image"].clone()
    recolour(strong, crops["changes"])
    return {WEAK: crops["image"], STRONG: strong}
