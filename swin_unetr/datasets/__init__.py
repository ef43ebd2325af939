"""Labelled and unlabelled data sets on disk: one reader per folder layout, all giving `Case`s.

Only names are read here, no voxels: what the voxels alone can tell is `transforms.infer_task`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import get_args

from swin_unetr.config_io import load
from swin_unetr.datasets.bids import is_bids, read_bids
from swin_unetr.datasets.brats_layouts import is_brats, read_brats
from swin_unetr.datasets.btcv import is_btcv, read_btcv
from swin_unetr.datasets.case import Case, Dataset, Layout
from swin_unetr.datasets.channels import match_channels
from swin_unetr.datasets.decathlon import is_decathlon, read_decathlon
from swin_unetr.datasets.faults import DoubledIdError, fault_of_case, first_look, noting, one_case
from swin_unetr.datasets.folders import is_folders, read_folders
from swin_unetr.datasets.listing import posix_path, require_folder
from swin_unetr.datasets.lists import find_list, read_list
from swin_unetr.datasets.nnunet import home_of, is_nnunet, read_nnunet
from swin_unetr.datasets.patients import with_patients
from swin_unetr.datasets.patterns import is_patterns, read_patterns
from swin_unetr.datasets.plain import is_image_file, read_plain
from swin_unetr.errors import ConfigError, DataError
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

LAYOUTS: tuple[str, ...] = tuple(name for name in get_args(Layout) if name != "auto")
#: In a data set's folder, whatever its layout: the fields of a `swin_unetr.tasks.Task`.
DESCRIPTION = "task.yaml"

#: What tells each layout of a folder, the most telling first.
_SIGNS: dict[str, Callable[[Path], bool]] = {
    "nnunet": is_nnunet,
    "decathlon": is_decathlon,
    "btcv": is_btcv,
    "bids": is_bids,
    "brats": is_brats,
    "folders": is_folders,
}


def is_dataset(path: Path) -> bool:
    """Whether a path can be a data set: a folder, or a file that lists cases."""
    return path.is_dir() or is_patterns(path) or find_list(path) is not None


def find_layout(root: Path) -> str:
    """Tell the layout of a folder by its files: the most telling first, `plain` where nothing else fits."""
    if is_image_file(root):
        return "plain"
    if is_patterns(root):
        return "folders"
    if find_list(root) is not None:
        return "list"
    require_folder(root)
    with first_look():
        return next((name for name, is_it in _SIGNS.items() if is_it(root)), "plain")


def read_dataset(
    root: Path, *, layout: str = "auto", require_labels: bool, task: Task | None = None, with_test: bool | None = None
) -> Dataset:
    """List the cases of a data set.

    Args:
        root: its folder; also a file that lists cases (CSV, JSON, `layout.yaml`); for a plain layout an image file.
        layout: one of `LAYOUTS`, or "auto" to tell it by the files.
        require_labels: leave out the test cases of the layout, and refuse a training case without a label.
        task: overrides what the folder's `task.yaml` says of its task, and that what its layout says.
        with_test: whether the layout's test cases, which have no labels, are listed; by default the opposite of
            `require_labels`.

    Returns:
        The cases, sorted by id.

    Raises:
        ConfigError: no such layout, or `task.yaml` is wrong.
        DataError: the folder is missing, empty or inconsistent, or a case has no label.
    """
    if layout not in ("auto", *LAYOUTS):
        raise ConfigError(f"layout: {layout!r} is none of auto, {', '.join(LAYOUTS)}")
    found = find_layout(root) if layout == "auto" else layout
    if not is_image_file(root) and (found not in ("list", "folders") or not is_dataset(root)):
        require_folder(root)
    dataset = _read(root, found, with_test=(not require_labels) if with_test is None else with_test)
    if not dataset.cases:
        hint = "; ".join(dataset.notes) or "check the folder, or name its --layout"
        raise DataError(f"{root}: no scans found in layout {found!r}; {hint}")
    cases = _with_good_ids(root, sorted(dataset.cases, key=lambda case: case.id))
    dataset = replace(dataset, cases=cases)
    if require_labels:
        _refuse_unlabelled(root, cases)
    dataset = _with_patients(root, dataset, found)
    return replace(dataset, task=task or _described(dataset)).with_counted_channels()


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


def _with_patients(root: Path, dataset: Dataset, layout: str) -> Dataset:
    """The data set with its patients; a single file, and a list among others, are a part of what the folder holds."""
    if is_image_file(root):
        return dataset
    folder = home_of(dataset.root) if layout == "nnunet" else dataset.root

    def others() -> set[str]:
        """Ids that the file may name too: those of the test, and of cases that cannot be listed as they are."""
        with noting() as faults:
            everything = _read(folder if folder != dataset.root else root, layout, with_test=True)
        return {case.id for case in everything.cases} | {fault.case for fault in faults if fault.case}

    try:
        return with_patients(dataset, folder, others, is_part=root.is_file())
    except DataError as error:
        fault_of_case(None, error)
        return dataset


def _described(dataset: Dataset) -> Task | None:
    """The task that a `task.yaml` gives, else that of the layout.

    Raises:
        ConfigError: the file is wrong.
        DataError: its channels are not those of the files, or are those in another order.
    """
    path = dataset.root / DESCRIPTION
    task = load(Task, path) if path.is_file() else dataset.task
    own = dataset.channels or (dataset.task.channels if dataset.task is not None else ())
    if task is None or not own:
        return task
    source = path if path.is_file() else dataset.root
    if path.is_file() and len(own) != len(task.channels):
        words = f"{count(len(task.channels), 'channel')}, and the scans have {len(own)}"
        raise DataError(f"{source}: names {words} ({', '.join(own)}); name each of them")
    # A task may give names that say more than those of the files, but not the same names to other files.
    if own != task.channels and match_channels(own, task.channels) not in (None, tuple(range(len(own)))):
        raise DataError(
            f"{source}: names the channels {', '.join(task.channels)}, and the files are {', '.join(own)}; bring them "
            "into the order of the files"
        )
    return task


def _read(root: Path, layout: str, *, with_test: bool) -> Dataset:
    if layout == "folders":
        return read_patterns(root) if is_patterns(root) else read_folders(root)
    if layout in ("brats", "bids"):
        return {"brats": read_brats, "bids": read_bids}[layout](root)
    readers = {
        "decathlon": read_decathlon,
        "nnunet": read_nnunet,
        "btcv": read_btcv,
        "list": read_list,
        "plain": read_plain,
    }
    return readers[layout](root, with_test=with_test)


def _with_good_ids(root: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Ids are the names of results: each once, and none that would be a path. Of two cases with one id neither counts.

    Args:
        root: for messages.
        cases: sorted by their ids.
    """
    good = []
    for name, namesakes in ((name, list(of)) for name, of in groupby(cases, key=lambda case: case.id)):
        with one_case(name):
            if name in ("", ".", "..") or name != os.path.basename(posix_path(name)) or "\0" in name:
                raise DataError(f"{root}: {name!r} cannot be the id of a case: it is no name of a file; rename it")
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
