"""Training crops and validation scans of a fold, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from finetune.config import FinetuneConfig
from finetune.scans import Scans, ScansInMemory, ScansOnDisk, open_scans
from finetune.scans_on_device import ScansOnDevice, fits
from swin_unetr.config import AugmentConfig, Triple
from swin_unetr.datasets.case import Case
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.machine import cores
from swin_unetr.tasks import Task
from swin_unetr.training.loaders import Loader
from swin_unetr.training.sampler import Visit, VisitSampler
from swin_unetr.training.step_hooks import derived_seed
from swin_unetr.words import count
from transforms.augment import change
from transforms.crops import WIDE, RandomCrops, Sample
from transforms.random_parameters import changes_of
from transforms.unknown_labels import problem_lines

#: What a step gets: tensors by name. Before that also "changes", which are still to be made to them, and "wide", the
#: surroundings of the crops that are rotated (`transforms.augment.Wide`).
Batch = dict[str, Any]


class TrainingCrops(Dataset[list[Sample] | SwinUnetrError]):
    """Random crops of the scans. The same epoch and scan give the same crops in any process, at any time.

    A scan that cannot be read any more gives its error: raised in a process that loads data, it would reach the user
    as a traceback of that process.

    Args:
        scans: those to train on first.
        task: how many targets there are.
        config: sampling, augmentation, seed.
    """

    def __init__(self, scans: Scans, task: Task, config: FinetuneConfig) -> None:
        self._scans = scans
        self._crops = RandomCrops(config.sampling, config.augment, task)
        self._seed = config.trainer.seed

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, visit: Visit) -> list[Sample] | SwinUnetrError:
        epoch, _, scan = visit
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch, scan))
        try:
            return self._crops(self._scans.scan(scan), generator)
        except SwinUnetrError as error:
            return error


class WholeScans(Dataset[Sample | SwinUnetrError]):
    """Whole scans; one that cannot be read any more gives its error. The index None gives an empty sample."""

    def __init__(self, scans: Scans) -> None:
        self._scans = scans

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, index: int | None) -> Sample | SwinUnetrError:
        try:
            return {} if index is None else self._scans[index]
        except SwinUnetrError as error:
            return error


class FinetuneData(LightningDataModule):  # type: ignore[misc]  # Lightning is untyped here
    """Training crops and validation scans of one fold.

    Args:
        training: cases to train on.
        validation: cases to validate on, whole.
        task: how labels become targets.
        config: preprocessing, sampling, augmentation, store.
        store: folder that `config.store` means by "auto". If None, "auto" keeps the scans in memory.
    """

    def __init__(
        self,
        *,
        training: Sequence[Case],
        validation: Sequence[Case],
        task: Task,
        config: FinetuneConfig,
        store: Path | None = None,
    ) -> None:
        super().__init__()
        self._task, self._config = task, config
        self._sampling = config.sampling
        self._seed = config.trainer.seed
        self._names = [case.id for case in training]
        both = tuple(dict.fromkeys((*training, *validation)))  # with fold "all", a case is of either
        self._validation = [both.index(case) for case in validation]
        self._scans = open_scans(both, task, config, store)
        self._at_once = True

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch on one process."""
        return self._sampler().steps

    def case_names(self, epoch: int, batch_idx: int) -> list[str]:
        """The cases that a batch of this process is made of; epoch and batch from 0."""
        return [self._names[visit.scan] for visit in self._sampler().batch_at(epoch, batch_idx)]

    def training_voxels(self) -> Iterator[tuple[int, ...]]:
        """For every training scan, its voxels of background and of each target."""
        return map(self._scans.class_voxels, range(len(self._names)))

    def validation_voxels(self) -> Iterator[tuple[int, ...]]:
        """The same of every validation scan."""
        return map(self._scans.class_voxels, self._validation)

    def prepare_scans(self) -> None:
        """Preprocess the scans that have not been, before the first epoch.

        Raises:
            DataError: scans that cannot be used: a line for each, or one for all with the same unknown label values.
            ConfigError: the disk is too small for the store.
        """
        if problems := self._scans.prepare():
            first = f"{len(problems)} of {count(len(self._scans), 'scan')} cannot be used:"
            raise DataError("\n".join([first, *problem_lines(problems, self._task)]))

    def contents(self) -> dict[str, str]:
        """A name for the content of each case's files, by the case; empty if no store knows them."""
        return self._scans.contents() if isinstance(self._scans, ScansOnDisk) else {}

    def place(self, device: torch.device) -> dict[str, str]:
        """Choose where the scans lie and where crops are changed; scans must have been prepared.

        Args:
            device: that the network trains on.

        Returns:
            What was chosen, for the record of a run.
        """
        speed = self._config.speed
        if speed.fast and device.type != "cpu":
            if speed.scans == "device" or (speed.scans == "auto" and fits(self._scans, self._task, device)):
                self._scans = ScansOnDevice(self._scans, device)
            self._at_once = speed.augmentation == "loader" and not isinstance(self._scans, ScansOnDevice)
        return {"scans": self._scans.where, "augmentation": "loader" if self._at_once else "device"}

    def train_dataloader(self) -> Loader[Any]:
        """Batches of scans_per_batch x crops_per_scan crops; after a resume, those that are still to come."""
        sampler = self._sampler().in_training(self.trainer)
        return Loader(
            TrainingCrops(self._scans, self._task, self._config),
            batch_size=self._sampling.scans_per_batch,
            sampler=sampler,
            collate_fn=Batches(self._config.augment, at_once=self._at_once),
            **self._workers(self._sampling.num_workers),
        )

    def _sampler(self) -> VisitSampler:
        return VisitSampler(
            len(self._names),
            batch=self._sampling.scans_per_batch,
            drop_last=True,
            seed=self._seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def validation_shapes(self) -> list[Triple]:
        """Voxels of the scans that this process validates."""
        return [self._scans.scan(index).shape for index in self._validated_here()]

    def first_validated(self) -> Sample | SwinUnetrError:
        """The first of them; empty if there is none."""
        return WholeScans(self._scans)[next(iter(self._validated_here()), None)]

    def val_dataloader(self) -> Loader[Any]:
        """Whole scans, one at a time, each on one of the processes; if there are too few, the others get empty batches.

        A process without any would skip the validation, in which the others wait for it.
        """
        mine: Sequence[int | None] = self._validated_here() or [None]
        # One process reads the next scan while this one is segmented; more would fill the memory with scans.
        workers = 0 if isinstance(self._scans, ScansInMemory) else min(1, self._sampling.num_workers)
        return Loader(WholeScans(self._scans), batch_size=None, sampler=mine, **self._workers(workers))

    def _validated_here(self) -> list[int]:
        return self._validation[self.trainer.global_rank :: self.trainer.world_size]

    def on_before_batch_transfer(self, batch: Batch | SwinUnetrError, dataloader_idx: int) -> Batch:
        """Raise, in the process that trains, what went wrong in one that reads."""
        if isinstance(batch, SwinUnetrError):
            raise batch
        if "changes" in batch and self.trainer.strategy.root_device.type == "cuda":
            batch["changes"] = batch["changes"].pinned()
        return batch

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Make the changes that the reading process has left to the device."""
        return changed(batch)

    def _workers(self, number: int) -> dict[str, Any]:
        on_device = isinstance(self._scans, ScansOnDevice)
        on_gpu = self.trainer.strategy.root_device.type == "cuda" and not on_device
        # A recipe is written for a workstation; more processes than cores would only slow each other down. Scans on
        # the device cannot be read by another process.
        number = 0 if on_device else min(number, cores())
        return {"num_workers": number, "pin_memory": on_gpu}


class Batches:
    """Joins the crops of several visits, and changes them at random: at once, or later on the device.

    Args:
        augment: what is changed.
        at_once: change them here, in the process that reads.
    """

    def __init__(self, augment: AugmentConfig, *, at_once: bool) -> None:
        self._augment, self._at_once = augment, at_once

    def __call__(self, visits: Sequence[list[Sample] | SwinUnetrError]) -> Batch | SwinUnetrError:
        """A batch of "image" and "label", B x C x X x Y x Z, and what is still to be done to it; or an error."""
        crops: list[Sample] = []
        for visit in visits:
            if isinstance(visit, SwinUnetrError):
                return visit
            crops += visit
        image, label, draws = (torch.stack([crop[key] for crop in crops]) for key in ("image", "label", "draws"))
        wide = [tuple(crop[key] for key in WIDE) for crop in crops if WIDE[0] in crop]
        batch = {"image": image, "label": label, "changes": changes_of(draws, self._augment), "wide": wide}
        return changed(batch) if self._at_once else batch


def changed(batch: Batch) -> Batch:
    """A batch whose changes are made, in place."""
    if (changes := batch.pop("changes", None)) is not None:
        change(batch["image"], batch["label"], changes, batch.pop("wide"))
    return batch
