"""Labelled and unlabelled data sets on disk: one reader per folder layout, all giving `Case`s.

Only names are read here, no voxels: what the voxels alone can tell is `transforms.told_by_labels`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from swin_unetr.configuration import load
from swin_unetr.datasets.brats_layouts import is_brats, read_brats
from swin_unetr.datasets.btcv import is_btcv, read_btcv
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.decathlon import is_decathlon, read_decathlon
from swin_unetr.datasets.listing import require_folder
from swin_unetr.datasets.plain import is_image_file, read_plain
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import Task

__all__ = ["LAYOUTS", "Case", "Dataset", "find_layout", "read_dataset"]

LAYOUTS = ("decathlon", "btcv", "brats", "plain")
#: In a data set's folder, whatever its layout: the fields of a `swin_unetr.tasks.Task`.
DESCRIPTION = "task.yaml"


def find_layout(root: Path) -> str:
    """Tell the layout of a folder by its files: the most telling first, `plain` where nothing else fits."""
    if is_image_file(root):
        return "plain"
    require_folder(root)
    if is_decathlon(root):
        return "decathlon"
    if is_btcv(root):
        return "btcv"
    return "brats" if is_brats(root) else "plain"


def read_dataset(
    root: Path, *, layout: str = "auto", require_labels: bool, task: Task | None = None, with_test: bool | None = None
) -> Dataset:
    """List the cases of a data set.

    Args:
        root: its folder; for a plain layout also a single image file.
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
    if not is_image_file(root):
        require_folder(root)
    dataset = _read(root, found, with_test=(not require_labels) if with_test is None else with_test)
    if not dataset.cases:
        raise DataError(f"{root}: no scans found in layout {found!r}; check the folder, or name its --layout")
    cases = tuple(sorted(dataset.cases, key=lambda case: case.id))
    _refuse_doubles(root, cases)
    if require_labels:
        _refuse_unlabelled(root, cases)
    return replace(dataset, cases=cases, task=task or _described(root) or dataset.task)


def _described(root: Path) -> Task | None:
    path = root / DESCRIPTION
    return load(Task, path) if path.is_file() else None


def _read(root: Path, layout: str, *, with_test: bool) -> Dataset:
    if layout == "decathlon":
        return read_decathlon(root, with_test=with_test)
    if layout == "btcv":
        return read_btcv(root, with_test=with_test)
    return read_brats(root) if layout == "brats" else read_plain(root)


def _refuse_doubles(root: Path, cases: tuple[Case, ...]) -> None:
    for one, other in pairwise(cases):
        if one.id == other.id:
            raise DataError(
                f"{root}: two cases have the id {one.id!r}: {one.images[0]} and {other.images[0]}; rename one"
            )


def _refuse_unlabelled(root: Path, cases: tuple[Case, ...]) -> None:
    missing = [case.id for case in cases if case.label is None]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise DataError(f"{root}: no label file for {named}; add the labels or move the scans out")
