"""Labelled and unlabelled data sets on disk: one reader per folder layout, all giving `Case`s.

Only names are read here, no voxels: `transforms.infer_task` infers what only voxels show.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.channels import match_channels
from swin_unetr.datasets.description import DESCRIPTION, read_description
from swin_unetr.datasets.faults import DoubledIdError, fault_of_case, noting, one_case
from swin_unetr.datasets.labelled import with_labelled
from swin_unetr.datasets.listing import posix_path
from swin_unetr.datasets.patients import with_patients
from swin_unetr.datasets.plain import is_image_file
from swin_unetr.datasets.reader import Reader
from swin_unetr.datasets.readers import LAYOUTS, READERS, Layout, find_reader, recognise, why_no_scans
from swin_unetr.errors import DataError
from swin_unetr.tasks import Task
from swin_unetr.words import count

__all__ = [
    "DESCRIPTION",
    "LAYOUTS",
    "Case",
    "Dataset",
    "Layout",
    "find_layout",
    "is_dataset",
    "read_dataset",
    "read_sound_cases",
]


def is_dataset(path: Path) -> bool:
    """Whether a path can be a data set: a folder, or a file that lists cases."""
    return path.is_dir() or any(reader.described_by(path) for reader in READERS)


def find_layout(root: Path) -> str:
    """The name of the layout that is recognised from the files; "plain" if no other one is."""
    return recognise(root).name


def read_dataset(
    root: Path, *, layout: str = "auto", require_labels: bool, task: Task | None = None, with_test: bool | None = None
) -> Dataset:
    """List the cases of a data set.

    Args:
        root: its folder; also a file that lists cases (CSV, JSON, `layout.yaml`); for a plain layout an image file.
        layout: one of `LAYOUTS`, or "auto" to recognise it from the files.
        require_labels: leave out the test cases of the layout, and refuse a training case without a label.
        task: overrides the folder's `task.yaml`, which itself overrides the layout's task.
        with_test: whether the layout's test cases, which have no labels, are listed. If None, they are listed unless
            `require_labels`.

    Returns:
        The cases, sorted by id.

    Raises:
        ConfigError: no such layout, or `task.yaml` is wrong.
        DataError: the folder is missing, empty or inconsistent, or a case has no label.
    """
    reader = find_reader(root, layout)
    dataset = reader.read(root, with_test=(not require_labels) if with_test is None else with_test)
    if not dataset.cases:
        hint = "; ".join(dataset.notes) or why_no_scans(reader, layout)
        raise DataError(f"{root}: no scans found in layout {reader.name!r}; {hint}")
    cases = _with_good_ids(root, sorted(dataset.cases, key=lambda case: case.id))
    dataset = replace(dataset, cases=cases)
    if require_labels:
        _refuse_unlabelled(root, cases)
    dataset = _described(dataset, task)
    return _with_side_files(root, dataset, reader).with_counted_channels()


def read_sound_cases(root: Path, *, layout: str = "auto", with_test: bool) -> tuple[Dataset, list[DataError]]:
    """The cases that can be listed, with or without labels, and the faults of the others.

    Raises:
        ConfigError: see `read_dataset`.
        DataError: not one case can be listed.
    """
    with noting() as faults:
        try:
            return read_dataset(root, layout=layout, require_labels=False, with_test=with_test), faults
        except DataError as error:
            raise (faults or [error])[0] from error


def _with_side_files(root: Path, dataset: Dataset, reader: Reader) -> Dataset:
    """The data set with its patients, and what was looked for in its cases.

    A single file, or one of several lists, is only a part of the folder.
    """
    if is_image_file(root):
        return dataset
    folder = dataset.whole or dataset.root

    def others() -> set[str]:
        """Ids that the files may name too: those of test cases, and of cases with a fault."""
        with noting() as faults:
            everything = reader.read(folder if folder != dataset.root else root, with_test=True)
        return {case.id for case in everything.cases} | {fault.case for fault in faults if fault.case}

    for read in (with_patients, with_labelled):
        try:
            dataset = read(dataset, folder, others, is_part=root.is_file())
        except DataError as error:
            fault_of_case(None, error)
    return dataset


def _described(dataset: Dataset, task: Task | None) -> Dataset:
    """The data set with its task and the rule on what label files lack.

    Args:
        dataset: as read from its layout.
        task: the task. If None, that of a `task.yaml`, else that of the layout.

    Raises:
        ConfigError: the file is wrong.
        DataError: its channels are not those of the files, or are in another order.
    """
    path = dataset.root / DESCRIPTION
    if not path.is_file():
        return replace(dataset, task=task or _checked(dataset, dataset.task, dataset.root))
    named, absent = read_description(path)
    return replace(dataset, task=task or _checked(dataset, named, path), absent=absent)


def _checked(dataset: Dataset, task: Task | None, source: Path) -> Task | None:
    """A task whose channels are those of the files.

    Args:
        dataset: as read from its layout.
        task: the task. If None, nothing says what the labels mean.
        source: the `task.yaml`, or the folder of the data set if its layout gives the task.
    """
    own = dataset.channels or (dataset.task.channels if dataset.task is not None else ())
    if task is None or not own:
        return task
    if source.name == DESCRIPTION and len(own) != len(task.channels):
        words = f"{count(len(task.channels), 'channel')}, but the scans have {len(own)}"
        raise DataError(f"{source}: names {words} ({', '.join(own)}); name each of them")
    # A task may give more precise names than the files, but not the same names in another order.
    if own != task.channels and match_channels(own, task.channels) not in (None, tuple(range(len(own)))):
        raise DataError(
            f"{source}: names the channels {', '.join(task.channels)}, but the files are {', '.join(own)}; bring them "
            "into the order of the files"
        )
    return task


def _with_good_ids(root: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Check the ids, which name results: each is unique, and not a path. Two cases with the same id are both left out.

    Args:
        root: for messages.
        cases: sorted by their ids.
    """
    good = []
    for name, namesakes in ((name, list(of)) for name, of in groupby(cases, key=lambda case: case.id)):
        with one_case(name):
            if name in ("", ".", "..") or name != os.path.basename(posix_path(name)) or "\0" in name:
                raise DataError(f"{root}: {name!r} cannot be the id of a case: it is not a valid file name; rename it")
            if len(namesakes) > 1:
                both = f"{namesakes[0].images[0]} and {namesakes[1].images[0]}"
                raise DoubledIdError(f"{root}: two cases have the id {name!r}: {both}; rename one")
            good += namesakes
    return tuple(good)


def _refuse_unlabelled(root: Path, cases: tuple[Case, ...]) -> None:
    missing = [case.id for case in cases if case.label is None]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(f"{root}: no label file for {named}; add the labels or move the scans out")
