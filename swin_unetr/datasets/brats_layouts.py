"""The layouts of BraTS: one folder per case, the modality at the end of each file's name.

`BraTS20_Training_001/BraTS20_Training_001_flair.nii` (2018 to 2021, and 2013 as converted) and
`BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz` (from 2023).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.faults import ChannelMissingError, DoubledIdError, one_case
from swin_unetr.datasets.listing import image_suffix, stem, unique
from swin_unetr.datasets.reader import Reader
from swin_unetr.tasks import BRATS_CHANNELS, brats

#: Ending of a file's stem: channel. The first set until 2021, the second from 2023.
_CHANNELS = {
    "_flair": "FLAIR",
    "_t1ce": "T1ce",
    "_t1": "T1",
    "_t2": "T2",
    "-t2f": "FLAIR",
    "-t1c": "T1ce",
    "-t1n": "T1",
    "-t2w": "T2",
}
#: The last ending occurs in one case of 2020 (BraTS20_Training_355).
_LABELS = ("_seg", "-seg", "_segm")
#: Case folders lie in the root or in one of these (2018 and 2019).
_GRADES = ("HGG", "LGG")


def is_brats(root: Path) -> bool:
    """Whether a folder has case folders in one of the layouts, or is one."""
    return any(_channel_files(folder) for folder in _case_folders(root))


def read_brats(root: Path, *, with_test: bool) -> Dataset:
    """List the cases; the channels are the modalities that the cases have, in the published order.

    The task's label values are those that the names suggest; the voxels decide
    (`transforms.infer_task`).

    Args:
        root: the folder of the case folders.
        with_test: changes nothing, since the layout has no test cases.

    Raises:
        DataError: a case lacks a modality that others have or has two label files, or two cases have one name.
    """
    found = brats_files(root)
    present = {channel for files in found.values() for channel in files}
    channels = tuple(channel for channel in BRATS_CHANNELS if channel in present)
    cases = []
    for name, folder in _named_folders(root).items():
        with one_case(name):
            files, label = found.get(name, {}), _only_label(folder, _label_files(folder))
            if (files or label) and (missing := [channel for channel in channels if channel not in files]):
                raise ChannelMissingError(
                    f"{folder}: lacks {', '.join(missing)}, which other cases have; add it or leave the case out"
                )
            if files:
                cases.append(Case(id=name, images=tuple(files[channel] for channel in channels), label=label))
    newer = any(_ending(image).startswith("-") for case in cases for image in case.images)
    convention = "brats2023" if newer else "brats2021"
    return Dataset(
        root=root, layout=READER.name, cases=tuple(cases), task=brats(convention, channels or BRATS_CHANNELS)
    )


def brats_files(root: Path) -> dict[str, dict[str, Path]]:
    """Case id to channel to file: what each case has, complete or not.

    Raises:
        DataError: two cases have one name, or a case has two files of one channel.
    """
    found = {name: _channel_files(folder) for name, folder in _named_folders(root).items()}
    return {name: files for name, files in found.items() if files}


def brats_labels(root: Path) -> dict[str, Path]:
    """Case id to label file, of case folders `<id>/<id>_seg.nii.gz`, whether or not the scans lie beside them.

    Raises:
        DataError: a case has two label files, or two cases have one name.
    """
    labels = {}
    for name, folder in _named_folders(root).items():
        with one_case(name):
            named = [path for path in _label_files(folder) if name and stem(path).startswith(name)]
            if label := _only_label(folder, named):
                labels[name] = label
    return labels


def _case_folders(root: Path) -> Iterator[Path]:
    yield root
    for parent in (root, *(root / grade for grade in _GRADES)):
        if parent.is_dir():
            yield from sorted(folder for folder in parent.iterdir() if folder.is_dir())


def _named_folders(root: Path) -> dict[str, Path]:
    """Case folders by their names; those without an image file are no case folders."""
    folders = (folder for folder in _case_folders(root) if any(map(image_suffix, folder.iterdir())))
    return unique((Path(os.path.abspath(folder)).name, folder) for folder in folders)


def _channel_files(folder: Path) -> dict[str, Path]:
    """Channel to file, for the files of one case; empty for a folder in which every file is a case of its own."""
    files = [path for path in sorted(folder.iterdir()) if _ending(path) in _CHANNELS]
    names = [stem(path).lower().removesuffix(_ending(path)) for path in files]
    if folder.name.lower() in names:
        files = [path for path, name in zip(files, names, strict=True) if name == folder.name.lower()]
    elif len(files) < 2 or len(set(names)) > 1:
        return {}
    return unique(((_CHANNELS[_ending(path)], path) for path in files), lambda _: folder.name, "channel")


def _label_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if _ending(path) in _LABELS]


def _only_label(folder: Path, labels: Sequence[Path]) -> Path | None:
    """The one label file, if there is any.

    Raises:
        DoubledIdError: there are two.
    """
    if len(labels) > 1:
        raise DoubledIdError(f"{folder}: has two label files, {labels[0].name} and {labels[1].name}; keep one")
    return next(iter(labels), None)


def _ending(path: Path) -> str:
    """`_t1ce` of `BraTS20_Training_001_t1ce.nii`, in lower case; empty if it is not an image."""
    if image_suffix(path) is None:
        return ""
    name = stem(path).lower()
    start = max(name.rfind("_"), name.rfind("-"))
    return name[start:] if start > 0 else ""


READER = Reader(
    name="brats",
    looks="CASE/CASE_flair.nii.gz or CASE/CASE-t2f.nii.gz with labels CASE_seg or CASE-seg",
    structures="the regions of BraTS; the year is recognised from the labels",
    recognises=is_brats,
    read=read_brats,
)
