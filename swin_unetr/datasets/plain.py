"""A folder of images, alone or with labels of the same name: `images/` beside `labels/`, or just files."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.decathlon import DESCRIPTION as DECATHLON
from swin_unetr.datasets.decathlon import read_decathlon_task
from swin_unetr.datasets.dicom_objects import is_dicom
from swin_unetr.datasets.exports import find_series
from swin_unetr.datasets.listing import (
    holds_dicom,
    holds_series,
    image_suffix,
    images_by_stem,
    scans_by_stem,
    stem,
    unique,
    visible,
)
from swin_unetr.datasets.reader import Reader

#: Names of the folders of images and of labels.
PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))
#: Scans without labels, beside such a pair.
TESTS = "imagesTs"


def read_plain(root: Path, *, with_test: bool) -> Dataset:
    """List a folder of images, or a single image file. Every file, or folder with a DICOM series, is one case.

    DICOM series are found at any depth, as archives export them: folders of patients, studies and series.

    Args:
        root: folder of images and DICOM series, or of `images` and `labels`; a DICOM series; an image file.
        with_test: whether `imagesTs` beside `images` counts too.

    Raises:
        DataError: two images of one name, or a `dataset.json` that is wrong.
    """
    if root.is_file():
        return Dataset(root=root.parent, layout=READER.name, cases=(Case(id=stem(root), images=(root,)),))
    images, labels = next(((root / one, root / two) for one, two in PAIRS if (root / one).is_dir()), (root, None))
    labelled = images_by_stem(labels) if labels is not None and labels.is_dir() else {}
    series = find_series(images)
    files = ((name, path) for name, path in scans_by_stem(images).items() if not path.is_dir())
    named = [*files, *series.folders.items()]
    if labels is None and (holds_series(root) or (not named and holds_dicom(root))):
        named.append((os.path.basename(os.path.abspath(root)), root))
    scans = unique(named)
    several = labels is not None and len(set(series.patients.values())) < len(series.patients)
    patients = series.patients if several else {}
    cases = [
        Case(id=name, images=(path,), label=labelled.get(name), group=patients.get(name))
        for name, path in scans.items()
    ]
    if with_test and labels is not None and (root / TESTS).is_dir():
        cases += [Case(id=name, images=(path,)) for name, path in scans_by_stem(root / TESTS).items()]
    notes = (*series.notes, *(_left_out(images, scans) if labels is None else ()))
    described = root / DECATHLON  # nnU-Net's has labels and channels alone
    task = read_decathlon_task(described) if described.is_file() else None
    return Dataset(root=root, layout=READER.name, cases=tuple(cases), task=task, notes=notes)


def _left_out(root: Path, scans: Collection[str]) -> tuple[str, ...]:
    """A note if subfolders hold images that are not cases."""
    folders = [path for path in visible(root) if path.is_dir() and path.name not in scans]
    below = {folder.name: _count(folder, deep=not scans) for folder in folders}
    listed = ", ".join(f"{name} ({count})" for name, count in below.items() if count)
    return (f"left out: the images in {listed}; name these folders to take them",) if listed else ()


def _count(folder: Path, *, deep: bool) -> int:
    """Image files in a folder, and in those below it."""
    files = (Path(file) for _, _, names in os.walk(folder) for file in names) if deep else visible(folder)
    return sum(image_suffix(path) is not None for path in files)


def is_image_file(path: Path) -> bool:
    """Whether a path is a single image file."""
    return path.is_file() and (image_suffix(path) is not None or is_dicom(path))


def _is_anything(_: Path) -> bool:
    return True


READER = Reader(
    name="plain",
    looks="images/ and labels/ with files of the same name, or only images",
    structures="the values in the labels, or a task.yaml",
    recognises=_is_anything,
    read=read_plain,
)
