"""The raw layout of nnU-Net: `imagesTr/<case>_0000.nii.gz`, `labelsTr/<case>.nii.gz` and a `dataset.json`.

https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md (version 2; the folders of version 1 too).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.decathlon import DESCRIPTION, decathlon_task, description_of
from swin_unetr.datasets.faults import ChannelMissingError, one_case
from swin_unetr.datasets.listing import IMAGE_SUFFIXES, images_by_stem, inside, scans_by_stem, stem
from swin_unetr.datasets.reader import Reader
from swin_unetr.datasets.side_files import read_json_object
from swin_unetr.errors import DataError
from swin_unetr.tasks import Task
from swin_unetr.words import count

_TRAINING, _LABELS, _TEST = "imagesTr", "labelsTr", "imagesTs"
#: `<case>_<number of the channel>`.
_CHANNEL = re.compile(r"(.+)_(\d{4})")


def is_nnunet(root: Path) -> bool:
    """Whether a folder is a raw data set, or the folder of images in one."""
    home = home_of(root)
    values = description_of(home)
    if isinstance(values.get("dataset"), Mapping):
        return "labels" in values
    numbered = any((home / part).is_dir() and _numbered(home / part) for part in (_TRAINING, _TEST))
    if "file_ending" in values or not isinstance(values.get("training", {}), list):
        return "labels" in values and numbered
    # Version 1 lists the cases as the Decathlon does, without the channel number of the file names.
    listed = [entry.get("image") for entry in values["training"][:1] if isinstance(entry, Mapping)]
    return numbered and all(isinstance(name, str) and not (home / name).exists() for name in listed)


def read_nnunet(root: Path, *, with_test: bool) -> Dataset:
    """List the cases of a raw data set, or of the folder of images in one.

    Args:
        root: the folder with `dataset.json`, or its `imagesTr` or `imagesTs`.
        with_test: whether the cases of `imagesTs`, which have no labels, count too.

    Raises:
        DataError: the description is damaged, lists a file outside the folder, or a case lacks a channel.
    """
    home = home_of(root)
    path = home / DESCRIPTION
    values = read_json_object(path)
    task = decathlon_task(values, path)
    ending = values.get("file_ending")
    if ending is not None and str(ending).lower() not in IMAGE_SUFFIXES:
        raise DataError(f"{path}: file_ending {ending!r} is not of a 3-D image; known are {', '.join(IMAGE_SUFFIXES)}")
    if isinstance(values.get("dataset"), Mapping):
        cases = list(_listed(path, values["dataset"], task))
    else:
        parts = (_TRAINING, _TEST) if with_test else (_TRAINING,)
        folders = [root] if home != root else [home / part for part in parts if (home / part).is_dir()]
        cases = [case for folder in folders for case in _cases(folder, ending, task)]
    return Dataset(root=root, whole=home, layout=READER.name, cases=tuple(cases), task=task)


def home_of(root: Path) -> Path:
    """The folder with the description: the folder itself, or the one above a folder of images."""
    above = root.absolute().parent
    is_part = root.name in (_TRAINING, _TEST) and not (root / DESCRIPTION).is_file()
    return above if is_part and (above / DESCRIPTION).is_file() else root


def _cases(folder: Path, ending: str | None, task: Task) -> Iterator[Case]:
    labelled = folder.parent / _LABELS
    labels = images_by_stem(labelled) if folder.name == _TRAINING and labelled.is_dir() else {}
    for case, files in _numbered(folder, ending).items():
        with one_case(case):
            yield Case(id=case, images=_complete(folder, case, files, task), label=labels.get(case))


def _numbered(folder: Path, ending: str | None = None) -> dict[str, dict[int, Path]]:
    """Case to number of the channel to file."""
    found: dict[str, dict[int, Path]] = {}
    for name, path in scans_by_stem(folder, _case_of).items():
        match = _CHANNEL.fullmatch(name)
        if match and (ending is None or path.is_dir() or path.name.lower().endswith(str(ending).lower())):
            found.setdefault(match[1], {})[int(match[2])] = path
    return found


def _case_of(name: str) -> str:
    match = _CHANNEL.fullmatch(name)
    return match[1] if match else name


def _complete(folder: Path, case: str, files: Mapping[int, Path], task: Task) -> tuple[Path, ...]:
    wanted = range(len(task.channels))
    if missing := [f"{case}_{number:04d} ({task.channels[number]})" for number in wanted if number not in files]:
        raise ChannelMissingError(f"{folder}: lacks {', '.join(missing)}; add the file, or take the case out")
    if more := [files[number].name for number in files if number not in wanted]:
        raise DataError(
            f"{folder}: has {', '.join(more)}, but {DESCRIPTION} names {count(len(wanted), 'channel')}; correct it"
        )
    return tuple(files[number] for number in wanted)


def _listed(path: Path, listed: Mapping[str, Any], task: Task) -> Iterator[Case]:
    """The cases of a description that lists their files under "dataset"."""
    for case, entry in listed.items():
        try:
            images = tuple(inside(path, image) for image in entry["images"])
            label = inside(path, entry["label"]) if entry.get("label") else None
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: case {case!r} under 'dataset' has no 'images' ({error})") from error
        if len(images) != len(task.channels):
            raise DataError(
                f"{path}: case {case!r} lists {count(len(images), 'image')} for {count(len(task.channels), 'channel')}"
            )
        yield Case(id=str(case) or stem(images[0]), images=images, label=label)


READER = Reader(
    name="nnunet",
    looks="imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz with the dataset.json of nnU-Net",
    structures="dataset.json, with regions and the label ignore",
    recognises=is_nnunet,
    read=read_nnunet,
)
