"""The layout of the Medical Segmentation Decathlon: `dataset.json` lists cases, channels and labels."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.listing import stem
from swin_unetr.errors import DataError
from swin_unetr.tasks import Target, Task

DESCRIPTION = "dataset.json"


def is_decathlon(root: Path) -> bool:
    """Whether a folder has a description that lists cases."""
    try:
        return "training" in json.loads((root / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def read_decathlon(root: Path, *, with_test: bool) -> Dataset:
    """Read the description.

    Args:
        root: folder with `dataset.json`.
        with_test: whether the cases without labels count too.

    Raises:
        DataError: the description is damaged, lists a file outside the folder, or a case twice.
    """
    path = root / DESCRIPTION
    values = _read(path)
    cases = []
    try:
        for entry in [*values["training"], *values.get("validation", [])]:  # MONAI's lists of BTCV have the latter
            image, label = _inside(root, entry["image"]), _inside(root, entry["label"])
            cases.append(Case(id=stem(image), images=(image,), label=label))
        for entry in values.get("test", []) if with_test else []:
            image = _inside(root, entry["image"] if isinstance(entry, Mapping) else entry)
            cases.append(Case(id=stem(image), images=(image,)))
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: an entry of its lists has no 'image' or no 'label' ({error})") from error
    return Dataset(root=root, layout="decathlon", cases=tuple(cases), task=decathlon_task(values, path))


def read_decathlon_task(path: Path) -> Task:
    """The task that a `dataset.json` describes.

    Raises:
        DataError: it is damaged.
    """
    return decathlon_task(_read(path), path)


def decathlon_task(values: Mapping[str, Any], path: Path) -> Task:
    """The task of a parsed `dataset.json`: exclusive classes, as the Decathlon has them.

    Labels may be written value to name (Decathlon) or name to value (nnU-Net); value 0 is background.
    """
    try:
        labels = _labels(values["labels"])
        channels = values.get("modality") or values["channel_names"]
        names = tuple(str(channels[key]) for key in sorted(channels, key=int))
        return Task(
            name=str(values.get("name", path.parent.name)),
            modality="CT" if names and names[0].upper().startswith("CT") else "MR",
            channels=names,
            targets=tuple(Target(name=name, labels=(value,), write_as=value) for value, name in sorted(labels.items())),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: needs 'labels' and 'modality' as in the Decathlon ({error})") from error


def _labels(listed: Mapping[str, Any]) -> dict[int, str]:
    if all(str(key).isdigit() for key in listed):
        pairs = {int(key): str(name) for key, name in listed.items()}
    else:
        pairs = {int(value): str(name) for name, value in listed.items()}
    return {value: name for value, name in pairs.items() if value != 0}


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}: should hold a JSON object")
    return values


def _inside(root: Path, listed: str) -> Path:
    """A listed path, which may not leave the data set's folder: descriptions come from elsewhere.

    What is in the folder may well be a link to another one: that was made here.
    """
    folder = os.path.normpath(root.absolute())
    if not Path(os.path.normpath(Path(folder, listed))).is_relative_to(folder):
        raise DataError(f"{root / DESCRIPTION}: lists {listed!r}, which lies outside the folder")
    return root / listed
