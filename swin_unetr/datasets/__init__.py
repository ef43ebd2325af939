"""Labelled and unlabelled data sets on disk: one reader per folder layout, all giving `Case`s.

Only names are read here, no voxels: what the voxels alone can tell is `transforms.told_by_labels`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

from swin_unetr.configuration import load
from swin_unetr.datasets.bids import is_bids, read_bids
from swin_unetr.datasets.brats_layouts import is_brats, read_brats
from swin_unetr.datasets.btcv import is_btcv, read_btcv
from swin_unetr.datasets.case import Case, Dataset, Layout
from swin_unetr.datasets.decathlon import is_decathlon, read_decathlon
from swin_unetr.datasets.faults import DoubledIdError, noting, one_case
from swin_unetr.datasets.folders import is_folders, read_folders
from swin_unetr.datasets.listing import require_folder
from swin_unetr.datasets.lists import find_list, read_list
from swin_unetr.datasets.nnunet import is_nnunet, read_nnunet
from swin_unetr.datasets.patients import with_patients
from swin_unetr.datasets.patterns import is_patterns, read_patterns
from swin_unetr.datasets.plain import is_image_file, read_plain
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import Task

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
    listed = sorted(with_patients(dataset.root, dataset.cases), key=lambda case: case.id)
    cases = tuple(_with_good_ids(root, listed))
    if require_labels:
        _refuse_unlabelled(root, cases)
    return replace(dataset, cases=cases, task=task or _described(dataset.root) or dataset.task)


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


def _described(root: Path) -> Task | None:
    path = root / DESCRIPTION
    return load(Task, path) if path.is_file() else None


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


def _with_good_ids(root: Path, cases: Iterable[Case]) -> Iterator[Case]:
    """Ids are the names of results: each once, and none that would be a path."""
    last: Case | None = None
    for case in cases:
        with one_case():
            if case.id in ("", ".", "..") or case.id != os.path.basename(case.id.replace("\\", "/")) or "\0" in case.id:
                raise DataError(f"{root}: {case.id!r} cannot be the id of a case: it is no name of a file; rename it")
            if last is not None and last.id == case.id:
                both = f"{last.images[0]} and {case.images[0]}"
                raise DoubledIdError(f"{root}: two cases have the id {case.id!r}: {both}; rename one")
            last = case
            yield case


def _refuse_unlabelled(root: Path, cases: tuple[Case, ...]) -> None:
    missing = [case.id for case in cases if case.label is None]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(f"{root}: no label file for {named}; add the labels or move the scans out")
