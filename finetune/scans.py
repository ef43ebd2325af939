"""Preprocessed scans with their targets, in memory or in a store on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from monai.utils import convert_to_tensor
from torch import Tensor

from finetune.config import FinetuneConfig
from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.datasets.union import label_table
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.machine import cores
from swin_unetr.store.filling import alone, in_parallel, workers_for
from swin_unetr.store.folder import Store, digest, files_hash, source_key
from swin_unetr.store.scan_file import StoredScan
from swin_unetr.store.size import check_space, in_words, most_voxels, store_bytes
from swin_unetr.tasks import Task
from swin_unetr.training.first_process import tell
from swin_unetr.words import count
from transforms.class_places import class_places
from transforms.crops import Sample, Scan, ScanInMemory, class_voxels
from transforms.labels import encoding_key
from transforms.preprocess import preprocessing
from transforms.steps import label_interpolation_key, preprocessing_key

_OPTION = "--store (--store memory keeps the scans in memory)"
_NAME = "store"


class Scans(Protocol):
    """Preprocessed scans of cases, in their order."""

    #: Where they lie, for the record of a run.
    where: str

    def __len__(self) -> int:
        """How many there are."""

    def prepare(self) -> list[SwinUnetrError]:
        """Preprocess the scans that are not yet; gives an error for each that cannot be used."""

    def scan(self, index: int) -> Scan:
        """One of them, to take crops from."""

    def __getitem__(self, index: int) -> Sample:
        """One of them, whole."""

    def class_voxels(self, index: int) -> tuple[int, ...]:
        """Voxels of a scan that are background, and those of each target; ignored ones are neither."""


def open_scans(
    cases: Sequence[Case], task: Task, config: FinetuneConfig, folder: Path | None, *, labelled: bool = True
) -> Scans:
    """The scans of cases, kept where the configuration says.

    Args:
        cases: the scans.
        task: how labels become targets.
        config: preprocessing, and where to keep what was preprocessed.
        folder: of the store that `config.store` means by "auto". If None, "auto" keeps the scans in memory.
        labelled: whether labels are read; labels of other scans have no channels.
    """
    if (place := store_of(config, folder)) is None:
        return ScansInMemory(cases, task, config.preprocess, labelled=labelled)
    return ScansOnDisk(cases, task, config.preprocess, place, labelled=labelled)


def store_of(config: FinetuneConfig, auto: Path | None) -> Path | None:
    """The folder of the store that a configuration means; None if the scans are kept in memory.

    Args:
        config: with `store`.
        auto: what "auto" means.
    """
    return {"memory": None, "auto": auto}.get(config.store, Path(config.store))


class ScansInMemory:
    """Scans that are read once by each process, and kept.

    Args:
        cases: the scans.
        task: how labels become targets.
        preprocess: spacing, intensity and crop.
        labelled: whether labels are read.
    """

    where = "memory"

    def __init__(
        self, cases: Sequence[Case], task: Task, preprocess: PreprocessConfig, *, labelled: bool = True
    ) -> None:
        self._cases, self._config, self._labelled = tuple(cases), preprocess, labelled
        self._targets = len(task.targets)
        self._steps = preprocessing(preprocess, task, with_label=labelled)
        self._kept: dict[int, ScanInMemory] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def prepare(self) -> list[SwinUnetrError]:
        """Read all; gives an error for each scan that cannot be used."""

        def read(index: int) -> SwinUnetrError | None:
            try:
                self.scan(index)
            except SwinUnetrError as error:
                return error
            return None

        workers = workers_for(most_voxels(self._cases, self._config))
        outcomes = in_parallel(read, range(len(self)), workers, tell, "reading scans")
        return [problem for problem in outcomes if problem is not None]

    def scan(self, index: int) -> ScanInMemory:
        """One of them, read if it was not yet."""
        if index not in self._kept:
            sample = _preprocessed(self._steps, self._cases[index])
            if not self._labelled:
                nothing = torch.empty(0, *sample["image"].shape[1:], dtype=torch.uint8)
                self._kept[index] = ScanInMemory(sample["image"], nothing)
                return self._kept[index]
            places = [flat for _, flat in class_places(sample["label"].numpy(), self._targets)]
            self._kept[index] = ScanInMemory(sample["image"], sample["label"], places)
        return self._kept[index]

    def __getitem__(self, index: int) -> Sample:
        scan = self.scan(index)
        return {"image": scan.image, "label": scan.label}

    def class_voxels(self, index: int) -> tuple[int, ...]:
        """Voxels of a scan that are background, and those of each target; ignored ones are neither."""
        return class_voxels(self.scan(index).label.numpy(), self._targets)


class ScansOnDisk:
    """Scans in a store, which is filled once; every crop is read from it, and nothing is kept.

    Args:
        cases: the scans.
        task: how labels become targets.
        preprocess: spacing, intensity and crop.
        folder: of the store; new, or one that other runs use too.
        labelled: whether labels are read.
    """

    where = "store"

    def __init__(
        self, cases: Sequence[Case], task: Task, preprocess: PreprocessConfig, folder: Path, *, labelled: bool = True
    ) -> None:
        self._cases, self._task, self._preprocess, self._folder = tuple(cases), task, preprocess, folder
        self._labelled = labelled
        self._steps = preprocessing(preprocess, task, with_label=labelled)
        self._scans: tuple[StoredScan, ...] = ()

    def __len__(self) -> int:
        return len(self._cases)

    def prepare(self) -> list[SwinUnetrError]:
        """Preprocess the scans that are not in the store yet; gives an error for each that cannot be used.

        Files are known by their content: a copy is not preprocessed again, a changed file is. If it is stopped, the
        next call goes on from there.

        Raises:
            ConfigError: the disk is full or cannot be written.
        """
        with alone(self._folder, tell, _NAME) as is_alone:
            store = Store(self._folder, self._way(), option=_OPTION)
            if is_alone:
                store.discard_partial()
            found = self._find_all(store)
            todo = [case for case, scan in zip(self._cases, found, strict=True) if scan is None]
            workers = workers_for(most_voxels(todo, self._preprocess))
            if todo:
                self._tell_size(todo, workers)
            made = in_parallel(lambda case: self._settle(store, case), todo, workers, tell, _NAME) if todo else []
        rest = iter(made)
        scans = [scan or next(rest) for scan in found]
        self._scans = tuple(scan for scan in scans if isinstance(scan, StoredScan))
        return [scan for scan in scans if isinstance(scan, SwinUnetrError)]

    def contents(self) -> dict[str, str]:
        """A name for the content of each case's files, by the case; `prepare` comes first."""
        return {scan.case: scan.file.stem for scan in self._scans}

    def scan(self, index: int) -> StoredScan:
        """One of them; `prepare` comes first."""
        return self._scans[index]

    def __getitem__(self, index: int) -> Sample:
        image, label = self._scans[index].crop((0, 0, 0), self._scans[index].shape)
        return {"image": torch.from_numpy(image), "label": torch.from_numpy(label)}

    def class_voxels(self, index: int) -> tuple[int, ...]:
        """Voxels of a scan that are background, and those of each target, without reading it."""
        return self._scans[index].class_voxels[: len(self._task.targets) + 1]

    def _way(self) -> dict[str, object]:
        """What a scan in the store depends on beside its files."""
        task = self._task
        label = {**encoding_key(task), **label_interpolation_key(self._preprocess)} if self._labelled else None
        return {"preprocess": preprocessing_key(self._preprocess, task.channels), "label": label}

    def _name(self, case: Case, content: str) -> str:
        """Names what a scan in the store holds: its files, and the meaning of its label values if that is its own."""
        if case.task is None:
            return content
        return digest([content, sorted(label_table(case.task, self._task).items())])

    def _find_all(self, store: Store) -> list[StoredScan | None]:
        """The scans of files that were read before: found by their stamps, or by their bytes if the stamps differ."""
        found = [self._find(store, case) for case in self._cases]
        others = [at for at, scan in enumerate(found) if scan is None]
        if others and not store.is_empty:  # else their bytes are read once, with the scans
            with_bytes = in_parallel(
                lambda at: self._find_by_bytes(store, self._cases[at]), others, cores(), tell, f"{_NAME}: comparing"
            )
            for at, scan in zip(others, with_bytes, strict=True):
                found[at] = scan
        return found

    def _find(self, store: Store, case: Case) -> StoredScan | None:
        try:
            facts = store.sources.get(source_key(_files(case)))
        except DataError:
            return None
        return None if facts is None else store.find(self._name(case, str(facts.get("hash"))), case.id)

    def _find_by_bytes(self, store: Store, case: Case) -> StoredScan | None:
        files = _files(case)
        try:
            key, content = source_key(files), files_hash(files)
        except DataError:
            return None
        if (scan := store.find(self._name(case, content), case.id)) is not None:
            store.sources.note(key, files, {"hash": content})
        return scan

    def _settle(self, store: Store, case: Case) -> StoredScan | DataError:
        files = _files(case)
        try:
            key, content = source_key(files), files_hash(files)
            name = self._name(case, content)
            scan = store.find(name, case.id)
            if scan is None:
                sample = _preprocessed(self._steps, case)
                if source_key(files) != key:
                    return DataError(f"{case.images[0]}: was changed while it was read; start again")
                label = sample["label"].numpy() if self._labelled else None
                places = [] if label is None else class_places(label, len(self._task.targets))
                scan = store.write(name, case.id, sample["image"].numpy(), label, places)
        except DataError as error:
            return error
        except (RuntimeError, ValueError, MemoryError) as error:
            return DataError(f"{case.images[0]}: cannot be preprocessed ({str(error).partition(chr(10))[0]})")
        store.sources.note(key, files, {"hash": content})
        return scan

    def _tell_size(self, todo: Sequence[Case], workers: int) -> None:
        size = store_bytes(todo, self._preprocess, workers, self._task if self._labelled else None)
        free = check_space(self._folder, size, _OPTION)
        room = f"at most {in_words(size)} in {self._folder} ({in_words(free)} free)"
        tell(f"{_NAME}: {len(todo)} of {count(len(self._cases), 'scan')} to preprocess, {room}")


def _preprocessed(steps: object, case: Case) -> dict[str, Tensor]:
    values = steps({"case": case})  # type: ignore[operator]
    # Plain tensors: MONAI's carry the history of the scan, which costs time at every transform.
    keys = [key for key in ("image", "label") if key in values]
    return {key: convert_to_tensor(values[key], track_meta=False).contiguous() for key in keys}


def _files(case: Case) -> list[Path]:
    return [*case.images, *([] if case.label is None else [case.label])]
