"""The layout of the Medical Segmentation Decathlon: `dataset.json` lists cases, channels and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.faults import one_case
from swin_unetr.datasets.listing import inside, stem
from swin_unetr.datasets.reader import Reader
from swin_unetr.datasets.side_files import read_json_object
from swin_unetr.errors import DataError
from swin_unetr.tasks import Target, Task, modality_of

DESCRIPTION = "dataset.json"
#: Label name with a special meaning in nnU-Net: voxels that nobody has labelled.
IGNORE = "ignore"


def is_decathlon(root: Path) -> bool:
    """Whether a folder has a description that lists cases."""
    return "training" in description_of(root)


def description_of(root: Path) -> dict[str, Any]:
    """What a folder's `dataset.json` holds; empty if it is missing or damaged."""
    try:
        return read_json_object(root / DESCRIPTION)
    except DataError:
        return {}


def read_decathlon(root: Path, *, with_test: bool) -> Dataset:
    """Read the description.

    Args:
        root: folder with `dataset.json`.
        with_test: whether the cases without labels count too.

    Raises:
        DataError: the description is damaged, lists a file outside the folder, or a case twice.
    """
    path = root / DESCRIPTION
    values = read_json_object(path)
    lists = {name: values.get(name, []) for name in ("training", "validation", "test")}
    if wrong := next((name for name, of in lists.items() if not isinstance(of, list)), None):
        raise DataError(f"{path}: {wrong!r} should be a list of cases")
    cases = []
    try:
        for entry in [*lists["training"], *lists["validation"]]:  # MONAI's lists of BTCV have the latter
            with one_case():
                image, label = inside(path, entry["image"]), inside(path, entry["label"])
                cases.append(Case(id=stem(image), images=(image,), label=label))
        for entry in lists["test"] if with_test else []:
            image = inside(path, entry["image"] if isinstance(entry, Mapping) else entry)
            cases.append(Case(id=stem(image), images=(image,)))
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: an entry of its lists has no 'image' or no 'label' ({error})") from error
    return Dataset(root=root, layout=READER.name, cases=tuple(cases), task=decathlon_task(values, path))


def read_decathlon_task(path: Path) -> Task:
    """The task that a `dataset.json` describes.

    Raises:
        DataError: it is damaged.
    """
    return decathlon_task(read_json_object(path), path)


def decathlon_task(values: Mapping[str, Any], path: Path) -> Task:
    """The task of a parsed `dataset.json`.

    Labels may be written value to name (Decathlon) or name to value (nnU-Net); value 0 is background. nnU-Net's
    regions (name to several values, painted in `regions_class_order`) and its label "ignore" are understood.
    """
    try:
        labels = {name: of for name, of in _labels(values["labels"]).items() if of != (0,)}
        ignored = labels.pop(IGNORE, (None,))
        channels = values.get("modality") or values["channel_names"]
        names = tuple(str(channels[key]) for key in sorted(channels, key=int))
        regions = any(len(of) > 1 for of in labels.values())
        if regions and "regions_class_order" not in values:
            raise DataError(
                f"{path}: its 'labels' have regions of several values, which need 'regions_class_order' beside "
                "them: the value that each is written as; to merge values into one structure, write a task.yaml"
            )
        painted = (
            [int(value) for value in values["regions_class_order"]] if regions else [of[0] for of in labels.values()]
        )
        return Task(
            name=str(values.get("name", path.parent.name)),
            modality=modality_of(names),
            channels=names,
            targets=tuple(
                Target(name=name, labels=of, write_as=value)
                for (name, of), value in zip(labels.items(), painted, strict=True)
            ),
            activation="sigmoid" if regions else "softmax",
            ignore_label=ignored[0],
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: needs 'labels' and 'modality' as in the Decathlon ({error})") from error


def _labels(listed: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Values by name; classes in the order of their values, regions in that of the list."""
    pairs: dict[str, tuple[int, ...]]
    if all(str(key).isdigit() for key in listed):
        pairs = {str(name): (int(key),) for key, name in listed.items()}
        if len(pairs) != len(listed):
            raise ValueError("two labels have the same name")
    else:
        pairs = {str(name): tuple(map(int, of)) if isinstance(of, list) else (int(of),) for name, of in listed.items()}
    regions = any(len(of) > 1 for of in pairs.values())
    return pairs if regions else dict(sorted(pairs.items(), key=lambda item: item[1]))


READER = Reader(
    name="decathlon",
    looks="a dataset.json, as in the Medical Segmentation Decathlon, that lists the cases in imagesTr/ and labelsTr/",
    structures="dataset.json",
    recognises=is_decathlon,
    read=read_decathlon,
)
