"""The layouts of BraTS: one folder per case, the modality at the end of each file's name.

`BraTS20_Training_001/BraTS20_Training_001_flair.nii` (2018 to 2021, and 2013 as converted) and
`BraTS-GLI-00000-000/BraTS-GLI-00000-000-t2f.nii.gz` (from 2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.listing import image_suffix, stem, unique
from swin_unetr.errors import DataError
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
_LABELS = ("_seg", "-seg")
#: Case folders lie in the root or in one of these (2018 and 2019).
_GRADES = ("HGG", "LGG")


def is_brats(root: Path) -> bool:
    """Whether a folder has case folders in one of the layouts, or is one."""
    return any(_channel_files(folder) for folder in _case_folders(root))


def read_brats(root: Path) -> Dataset:
    """List the cases; the channels are the modalities that the cases have, in the published order.

    The task's label values are those that the names suggest; the voxels have the last word
    (`transforms.told_by_labels`).

    Raises:
        DataError: a case lacks a modality that others have.
    """
    found = brats_files(root)
    present = {channel for files in found.values() for channel in files}
    channels = tuple(channel for channel in BRATS_CHANNELS if channel in present)
    cases = []
    for name, files in found.items():
        if missing := [channel for channel in channels if channel not in files]:
            folder = next(iter(files.values())).parent
            raise DataError(
                f"{folder}: lacks {', '.join(missing)}, which other cases have; add it or leave the case out"
            )
        label = _label_file(next(iter(files.values())).parent)
        cases.append(Case(id=name, images=tuple(files[channel] for channel in channels), label=label))
    newer = any(image.name.lower().count("-t2f") for case in cases for image in case.images)
    convention = "brats2023" if newer or any("-GLI-" in case.id for case in cases) else "brats2021"
    return Dataset(root=root, layout="brats", cases=tuple(cases), task=brats(convention, channels or BRATS_CHANNELS))


def brats_files(root: Path) -> dict[str, dict[str, Path]]:
    """Case id to channel to file: what each case has, complete or not."""
    found = {folder.name: _channel_files(folder) for folder in _case_folders(root)}
    return {name: files for name, files in found.items() if files}


def brats_labels(root: Path) -> dict[str, Path]:
    """Case id to label file, of case folders `<id>/<id>_seg.nii.gz`, whether or not the scans lie beside them."""
    labels = {folder.name: _label_file(folder) for folder in _case_folders(root)}
    return {name: path for name, path in labels.items() if path is not None and name and stem(path).startswith(name)}


def _case_folders(root: Path) -> Iterator[Path]:
    yield root
    for parent in (root, *(root / grade for grade in _GRADES)):
        if parent.is_dir():
            yield from sorted(folder for folder in parent.iterdir() if folder.is_dir())


def _channel_files(folder: Path) -> dict[str, Path]:
    """Channel to file, for the files of one case."""
    pairs = []
    for path in sorted(folder.iterdir()):
        ending = _ending(path)
        if ending in _CHANNELS:
            pairs.append((_CHANNELS[ending], path))
    return unique(pairs)


def _label_file(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.iterdir()) if _ending(path) in _LABELS), None)


def _ending(path: Path) -> str:
    """`_t1ce` of `BraTS20_Training_001_t1ce.nii`, in lower case; empty for what is no image."""
    if image_suffix(path) is None:
        return ""
    name = stem(path).lower()
    start = max(name.rfind("_"), name.rfind("-"))
    return name[start:] if start > 0 else ""
