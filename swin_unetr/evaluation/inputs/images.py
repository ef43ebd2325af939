"""The scans that belong to evaluated cases, for pictures and the viewer; an evaluation does without them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from swin_unetr.datasets import find_layout, read_dataset
from swin_unetr.datasets.faults import noting
from swin_unetr.datasets.listing import images_by_stem
from swin_unetr.errors import DataError
from swin_unetr.evaluation.inputs.cases import Pair
from swin_unetr.tasks import Task
from transforms.geometry import Volume
from transforms.io import read_image, read_verdict

#: Ends the name of nnU-Net's first channel; before it is the name of the case.
_FIRST_CHANNEL = re.compile(r"_0000$")


def find_images(path: Path | None, references: Path, cases: Collection[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """First channel of the scan by case id, empty if nothing is found; notes about scans that cannot be identified.

    Args:
        path: root of a data set, folder of images or image file. If None, looks in the data set of the references,
            also where `references` is the folder of labels in it (`labelsTr` beside `imagesTr`).
        references: where the references lie.
        cases: those that are evaluated; notes are about these.

    Raises:
        DataError: a path that was given and does not exist or holds no image.
    """
    with noting() as faults:
        try:
            images = _images(path, references)
        except DataError as error:
            if path is not None:
                raise (faults or [error])[0] from error
            images, faults = {}, faults or [error]
    relevant = [fault for fault in faults if fault.case is None or _FIRST_CHANNEL.sub("", fault.case) in cases]
    return images, (f"scans that are not shown: {'; '.join(map(str, relevant))}",) if relevant else ()


def _images(path: Path | None, references: Path) -> dict[str, Path]:
    if path is None:
        beside = references.with_name(references.name.replace("labels", "images", 1))
        path = beside if beside != references and beside.is_dir() else references
        if not path.is_dir() or (path == references and find_layout(path) == "plain"):
            return {}
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check --images")
    if find_layout(path) != "plain":
        dataset = read_dataset(path, require_labels=False, with_test=True)
        return {case.id: case.images[0] for case in dataset.cases}
    found = images_by_stem(path) if path.is_dir() else images_by_stem(path.parent)
    return {_FIRST_CHANNEL.sub("", name): file for name, file in reversed(found.items())}


def read_shown(path: Path, tasks: Iterable[Task | None]) -> Volume:
    """A scan to be shown. A fourth axis holds channels if one of the tasks names as many.

    Raises:
        DataError: the file is missing or cannot be used.
    """
    held = read_verdict(path).channels
    named = {len(task.channels) for task in tasks if task is not None}
    return read_image([path], held if held in named else None)


def files_of(pairs: Iterable[Pair], images: Mapping[str, Path]) -> dict[str, dict[str, str | None]]:
    """Absolute paths "image", "reference" and "prediction" by case."""
    return {
        pair.case: {
            "image": str(images[pair.case].absolute()) if pair.case in images else None,
            "reference": str(pair.reference.absolute()),
            "prediction": str(pair.prediction.absolute()),
        }
        for pair in pairs
    }
