"""Training crops and validation scans of a fold, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import Dataset

from finetune.batches import Batch, Batches, changed
from finetune.config import FinetuneConfig
from finetune.partial_labels import LABELLED, PartialLabels, of_hidden_voxels
from finetune.rarity import rarity_weights
from finetune.scans import Scans, ScansInMemory, ScansOnDisk, open_scans
from finetune.scans_on_device import ScansOnDevice, fits
from finetune.unlabelled_crops import UNLABELLED, CropsOfBoth, VisitsOfBoth
from swin_unetr.config import Triple
from swin_unetr.datasets.case import Case
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.machine import cores
from swin_unetr.tasks import Task
from swin_unetr.training.loaders import Loader
from swin_unetr.training.sampler import Visit, VisitSampler
from swin_unetr.training.step_hooks import derived_seed
from swin_unetr.words import count
from transforms.crops import LabelledScan, RandomCrops, Sample
from transforms.unknown_labels import problem_lines


class TrainingCrops(Dataset[list[Sample] | SwinUnetrError]):
    """Random crops of the scans. The same epoch and scan give the same crops in any process, at any time.

    A scan that cannot be read any more gives its error: raised in a process that loads data, it would reach the user
    as a traceback of that process.

    Args:
        scans: those to train on first.
        task: how many targets there are.
        config: sampling, augmentation, seed.
        labels: what was looked for in each of them. If None, everything was.
        rarity: of each target, how often it is cropped at (`transforms.crops.TakeCrops`).
    """

    def __init__(
        self,
        scans: Scans,
        task: Task,
        config: FinetuneConfig,
        labels: PartialLabels | None = None,
        rarity: Sequence[float] | None = None,
    ) -> None:
        self._scans = scans
        self._crops = RandomCrops(config.sampling, config.augment, task, rarity)
        self._labels = labels
        self._seed = config.trainer.seed

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, visit: Visit) -> list[Sample] | SwinUnetrError:
        epoch, _, scan = visit
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch, scan))
        try:
            if self._labels is None:
                return self._crops(self._scans.scan(scan), generator)
            crops = self._crops(LabelledScan(self._scans.scan(scan), self._labels.targets(scan)), generator)
            known = self._labels.channels(scan)
            return [{**crop, LABELLED: self._crops.channels(known, crop)} for crop in crops]
        except SwinUnetrError as error:
            return error


class WholeScans(Dataset[Sample | SwinUnetrError]):
    """Whole scans; one that cannot be read any more gives its error. The index None gives an empty sample.

    Args:
        scans: the scans.
        labels: what was looked for in each of them. If None, everything was.
    """

    def __init__(self, scans: Scans, labels: PartialLabels | None = None) -> None:
        self._scans, self._labels = scans, labels

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, index: int | None) -> Sample | SwinUnetrError:
        try:
            if index is None:
                return {}
            if self._labels is None:
                return self._scans[index]
            return {**self._scans[index], LABELLED: self._labels.channels(index)}
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
        unlabelled: cases without labels, whose crops are in every batch; their labels, if any, are not read.
    """

    def __init__(
        self,
        *,
        training: Sequence[Case],
        validation: Sequence[Case],
        task: Task,
        config: FinetuneConfig,
        store: Path | None = None,
        unlabelled: Sequence[Case] = (),
    ) -> None:
        super().__init__()
        self._task, self._config = task, config
        self._sampling = config.sampling
        self._seed = config.trainer.seed
        self._names = [case.id for case in training]
        both = tuple(dict.fromkeys((*training, *validation)))  # with fold "all", a case is of either
        self._validation = [both.index(case) for case in validation]
        self._scans = open_scans(both, task, config, store)
        self._unlabelled = open_scans(unlabelled, task, config, store, labelled=False) if unlabelled else None
        self._cases, self._all_labels = both, PartialLabels(both, task)
        #: Nothing at all where every case was searched for everything: such a training knows nothing of this.
        self._labels = self._all_labels if self._all_labels else None
        self._at_once = True

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch on one process."""
        return self._sampler().steps

    def case_names(self, epoch: int, batch_idx: int) -> list[str]:
        """The cases that a batch of this process is made of; epoch and batch from 0."""
        return [self._names[visit.scan] for visit in self._sampler().batch_at(epoch, batch_idx)]

    def training_voxels(self) -> Iterator[tuple[int, ...]]:
        """For every training scan, its voxels of background and of each target that was looked for."""
        return map(self._counted, range(len(self._names)))

    def validation_voxels(self) -> Iterator[tuple[int, ...]]:
        """The same of every validation scan."""
        return map(self._counted, self._validation)

    def training_labels(self) -> Iterator[tuple[bool, ...]]:
        """For every training scan, of each target whether it was looked for."""
        return map(self._all_labels.targets, range(len(self._names)))

    def hidden_voxels(self) -> str:
        """A warning about label files that hold what was not looked for in their case; else empty."""
        if self._labels is None:
            return ""
        return of_hidden_voxels(self._cases, self._task, map(self._scans.class_voxels, range(len(self._cases))))

    def _counted(self, index: int) -> tuple[int, ...]:
        return self._all_labels.counted(index, self._scans.class_voxels(index))

    def rarity(self) -> tuple[float, ...] | None:
        """How often each target is cropped at, against the others; None if `sampling.rarity_power` is 0."""
        power = self._sampling.rarity_power
        return rarity_weights(self.training_voxels(), power, self.training_labels()) if power else None

    def prepare_scans(self) -> None:
        """Preprocess the scans that have not been, before the first epoch.

        Raises:
            DataError: scans that cannot be used: a line for each, or one for all with the same unknown label values.
            ConfigError: the disk is too small for the store.
        """
        for scans in filter(None, (self._scans, self._unlabelled)):
            if problems := scans.prepare():
                kind = "scan" if scans is self._scans else "unlabelled scan"
                first = f"{len(problems)} of {count(len(scans), kind)} cannot be used:"
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
        if speed.fast and device.type != "cpu" and not self._config.augment.monai:
            if speed.scans == "device" or (speed.scans == "auto" and fits(self._scans, self._task, device)):
                self._scans = ScansOnDevice(self._scans, device)
            self._at_once = speed.augmentation == "loader" and not isinstance(self._scans, ScansOnDevice)
        return {"scans": self._scans.where, "augmentation": "loader" if self._at_once else "device"}

    def train_dataloader(self) -> Loader[Any]:
        """Batches of scans_per_batch x crops_per_scan crops; after a resume, those that are still to come."""
        sampler, batch = self._sampler().in_training(self.trainer), self._sampling.scans_per_batch
        crops = TrainingCrops(self._scans, self._task, self._config, self._labels, self.rarity())
        workers = self._workers(self._sampling.num_workers)
        if self._unlabelled is None:
            joined = Batches(self._config.augment, at_once=self._at_once)
            return Loader(crops, batch_size=batch, sampler=sampler, collate_fn=joined, **workers)
        beside = self._config.unlabelled.batch_size
        return Loader(
            CropsOfBoth(crops, self._unlabelled, self._task, self._config),
            batch_sampler=VisitsOfBoth(
                sampler, batch, scans=len(self._unlabelled), beside=beside, seed=self._seed, trainer=self.trainer
            ),
            collate_fn=Batches(self._config.augment, at_once=self._at_once, beside=beside),
            **workers,
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
        return Loader(WholeScans(self._scans, self._labels), batch_size=None, sampler=mine, **self._workers(workers))

    def _validated_here(self) -> list[int]:
        return self._validation[self.trainer.global_rank :: self.trainer.world_size]

    def on_before_batch_transfer(self, batch: Batch | SwinUnetrError, dataloader_idx: int) -> Batch:
        """Raise, in the process that trains, what went wrong in one that reads."""
        if isinstance(batch, SwinUnetrError):
            raise batch
        for part in (batch, batch.get(UNLABELLED, {})):
            if "changes" in part and self.trainer.strategy.root_device.type == "cuda":
                part["changes"] = part["changes"].pinned()
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
