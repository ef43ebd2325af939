"""Scans of a fold: preprocessed once or on the fly, cropped and augmented, in batches."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from monai.utils import convert_to_tensor
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from finetune.config import FinetuneConfig
from swin_unetr.datasets.case import Case
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.tasks import Task
from swin_unetr.training.course import derived_seed
from transforms.augment import augmentation
from transforms.preprocess import preprocessing

#: "image": C x X x Y x Z, float32; "label": encoded targets, uint8.
Sample = dict[str, Tensor]


class Scans(Dataset[Sample]):
    """Preprocessed scans with their targets; kept in memory where `cache` is set.

    Args:
        cases: the scans.
        task: how labels become targets.
        config: preprocessing, and whether to keep what was preprocessed.
    """

    def __init__(self, cases: Sequence[Case], task: Task, config: FinetuneConfig) -> None:
        self._cases = tuple(cases)
        self._preprocess = preprocessing(config.preprocess, task, with_label=True)
        self._regions, self._classes = task.activation == "sigmoid", task.num_classes
        self._cached: list[Sample | None] | None = [None] * len(cases) if config.cache else None

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, index: int) -> Sample:
        if self._cached is not None and (kept := self._cached[index]) is not None:
            return kept
        values = self._preprocess({"case": self._cases[index]})
        # Plain tensors: MONAI's carry the history of the scan, which costs time at every transform.
        return {key: convert_to_tensor(values[key], track_meta=False).contiguous() for key in ("image", "label")}

    def class_voxels(self, index: int) -> tuple[int, ...]:
        """Voxels of a scan that are background, and those of each target; ignored ones are neither."""
        label = self[index]["label"]
        if self._regions:
            background = (label == 0).all(dim=0).sum()
            return (int(background), *(int(voxels) for voxels in (label == 1).sum(dim=(1, 2, 3))))
        return tuple(torch.bincount(label.flatten().int(), minlength=256)[: self._classes].tolist())

    def read(self, index: int) -> str | None:
        """Read a scan, keep it where scans are kept, and return what is wrong with it."""
        try:
            sample = self[index]
        except SwinUnetrError as error:
            return str(error)
        if self._cached is not None:
            self._cached[index] = sample
        return None


class TrainingCrops(Dataset[list[Sample]]):
    """Random crops of the scans. The same (epoch, index) gives the same crops in any process, at any time."""

    def __init__(self, scans: Scans, task: Task, config: FinetuneConfig) -> None:
        self._scans = scans
        self._augment = augmentation(config.sampling, config.augment, task)
        self._seed = config.trainer.seed

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, visit: tuple[int, int]) -> list[Sample]:
        epoch, index = visit
        self._augment.set_random_state(seed=derived_seed(self._seed, epoch, index))
        crops: list[Sample] = self._augment(dict(self._scans[index]))
        return crops


class EpochSampler(Sampler[tuple[int, int]]):
    """Visits every scan once an epoch, in an order that depends on seed and epoch alone.

    It yields (epoch, index), so that the processes that load data need not be told of the epoch.

    Steps are those of the whole training: `batch` scans on each of two processes are the scans that one process would
    visit in a step of twice as many. What is less than a step at the end of an epoch is left out, but for data that
    are less than one altogether.

    Args:
        length: scans.
        seed: of the orders.
        rank: this process, of `world_size`; each visits its share.
        world_size: processes that train together.
        batch: scans of a step on one process.
    """

    def __init__(self, length: int, seed: int, rank: int = 0, world_size: int = 1, batch: int = 1) -> None:
        self._length, self._seed, self._rank, self._world_size = length, seed, rank, world_size
        self._visits = length // (world_size * batch) * batch or math.ceil(length / world_size)
        self._epoch = 0
        self._skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration visits; Lightning calls this."""
        self._epoch = epoch

    def skip(self, visits: int) -> None:
        """Leave out the first visits of the next iteration, which a stopped run has made already."""
        self._skip = visits

    def __len__(self) -> int:
        return self._visits

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, self._epoch))
        order = torch.randperm(self._length, generator=generator).tolist()
        order = list(islice(cycle(order), len(self) * self._world_size))  # every process makes as many steps
        skip, self._skip = self._skip, 0
        for index in order[self._rank :: self._world_size][skip:]:
            yield self._epoch, index


class FinetuneData(LightningDataModule):  # type: ignore[misc]  # Lightning is untyped here
    """Training crops and validation scans of one fold.

    Args:
        training: cases to train on.
        validation: cases to validate on, whole.
        task: how labels become targets.
        config: preprocessing, sampling, augmentation, cache.
    """

    #: A fold may have fewer cases to validate on than there are processes.
    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(
        self, *, training: Sequence[Case], validation: Sequence[Case], task: Task, config: FinetuneConfig
    ) -> None:
        super().__init__()
        self._sampling = config.sampling
        self._seed = config.trainer.seed
        self._cache = config.cache
        self._names = [case.id for case in training]
        self._training = Scans(training, task, config)
        self._validation = Scans(validation, task, config)
        self._crops = TrainingCrops(self._training, task, config)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch on one process."""
        return math.ceil(len(self._sampler()) / self._sampling.scans_per_batch)

    def case_names(self, epoch: int, batch_idx: int) -> list[str]:
        """The cases that a batch of this process is made of; epoch and batch from 0."""
        sampler = self._sampler()
        sampler.set_epoch(epoch)
        size = self._sampling.scans_per_batch
        return [self._names[index] for _, index in islice(sampler, batch_idx * size, (batch_idx + 1) * size)]

    def training_voxels(self) -> Iterator[tuple[int, ...]]:
        """Voxels of every training scan that are background, and those of each target."""
        return map(self._training.class_voxels, range(len(self._training)))

    def read_all(self) -> None:
        """Read every scan before the first epoch, and keep it where scans are kept.

        Raises:
            DataError: scans that cannot be used, all of them, one line each.
        """
        reads = [(scans, index) for scans in (self._training, self._validation) for index in range(len(scans))]
        with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
            done = pool.map(lambda read: read[0].read(read[1]), reads)
            shown = track(done, description="reading scans", total=len(reads), disable=not sys.stdout.isatty())
            problems = [problem for problem in shown if problem is not None]
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise DataError(f"{len(problems)} of {len(reads)} scans cannot be used:\n{lines}")

    def train_dataloader(self) -> DataLoader[list[Sample]]:
        """Batches of scans_per_batch x crops_per_scan crops; after a resume, those that are still to come."""
        progress = self.trainer.fit_loop.epoch_progress.current
        sampler = self._sampler()
        sampler.set_epoch(progress.processed)
        if progress.started > progress.processed:  # stopped within an epoch
            batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.processed
            sampler.skip(batches * self._sampling.scans_per_batch)
        return DataLoader(
            self._crops,
            batch_size=self._sampling.scans_per_batch,
            sampler=sampler,
            collate_fn=collate,
            **self._workers(self._sampling.num_workers),
        )

    def _sampler(self) -> EpochSampler:
        return EpochSampler(
            len(self._training),
            self._seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            batch=self._sampling.scans_per_batch,
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Whole scans, one at a time, each on one of the processes."""
        mine = list(range(self.trainer.global_rank, len(self._validation), self.trainer.world_size))
        workers = 0 if self._cache else self._sampling.num_workers
        return DataLoader(self._validation, batch_size=None, sampler=mine, **self._workers(workers))

    def _workers(self, number: int) -> dict[str, Any]:
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        # A recipe is written for a workstation; more processes than cores would only stand in each other's way.
        number = min(number, _cores())
        return {
            "num_workers": number,
            "persistent_workers": number > 0,
            "worker_init_fn": ignore_interrupts,
            "pin_memory": on_gpu,
        }


def _cores() -> int:
    """Cores that this process may use; fewer than the machine has where a scheduler says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def collate(visits: Sequence[Sequence[Sample]]) -> Sample:
    """The crops of several visits as one batch, B x C x X x Y x Z, of plain tensors."""
    crops = [crop for visit in visits for crop in visit]
    return {key: torch.stack([crop[key] for crop in crops]) for key in ("image", "label")}


def ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
