"""Scans in folders of any layout, with labels or without, by their names alone: no voxels are read here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from swin_unetr.batch import Failure
from swin_unetr.datasets import find_layout, read_sound_cases
from swin_unetr.datasets.case import Case
from swin_unetr.datasets.exports import held_by
from swin_unetr.datasets.listing import SEGMENTATION_SUFFIXES, holds_dicom, holds_series, image_suffix, stem
from swin_unetr.datasets.lists import find_list, read_list
from swin_unetr.datasets.plain import is_image_file
from swin_unetr.errors import DataError
from swin_unetr.files import real_path, require

#: Folders and names of files that hold labels, not scans.
_LABEL_FOLDERS = frozenset(
    {"label", "labels", "labelstr", "labelsts", "mask", "masks", "segmentation", "segmentations"}
)
_LABEL_NAME = re.compile(r"[-_.](seg|segm|label|labels|mask|masks|segmentation|segmentations|dseg)$", re.IGNORECASE)
_TEST_FOLDER = "imagests"


@dataclass
class FoundScans:
    """What lies under some paths.

    Attributes:
        cases: with their labels, if they have any; a scan that is found twice is there twice.
        skipped: what looked like a scan and is none, with the reason.
    """

    cases: list[Case] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)


def list_scans(paths: Iterable[Path | str], *, layout: str = "auto", with_test: bool = False) -> FoundScans:
    """The scans under some paths.

    Args:
        paths: folders of images (with their subfolders), of DICOM series, or in a labelled layout; image files; JSON or
            CSV lists (`swin_unetr.datasets.lists`).
        layout: of folders; "auto" recognises each from its files.
        with_test: take the test cases of labelled layouts (`imagesTs`, "test") too.

    Raises:
        DataError: a path that does not exist, or holds no scan by its name.
    """
    found = FoundScans()
    for path in paths:
        _list(Path(path), layout, with_test, found)
    return found


def _list(path: Path, layout: str, with_test: bool, found: FoundScans) -> None:
    require(path)
    if path.is_file() and find_list(path):
        # not `read_dataset`: scans of different folders may have one name
        found.cases += read_list(path, with_test=with_test).with_counted_channels().cases
    elif is_image_file(path):
        found.cases.append(Case(id=stem(path), images=(path,)))
    elif path.is_file():
        raise DataError(f"{path}: is neither an image nor a folder nor a list (.json, .csv)")
    elif layout not in ("auto", "plain"):
        _read_layout(path, layout, with_test, found)
    else:
        _walk(path, layout, with_test, found, set())


def _read_layout(folder: Path, layout: str, with_test: bool, found: FoundScans) -> None:
    """The cases of a labelled layout; those that cannot be listed are skipped and reported."""
    dataset, faults = read_sound_cases(folder, layout=layout, with_test=with_test)
    found.cases += dataset.cases
    found.skipped += [Failure(fault.case or str(folder), str(fault)) for fault in faults]


def _walk(folder: Path, layout: str, with_test: bool, found: FoundScans, seen: set[Path]) -> None:
    """Scans of a folder and its subfolders, each in the layout that its files show."""
    if (place := real_path(folder)) in seen:  # links may lead back to a parent
        return
    seen.add(place)
    try:
        found_layout = find_layout(folder) if layout == "auto" else layout
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        found.skipped.append(Failure(str(folder), f"{folder}: cannot be listed ({error.strerror})"))
        return
    if found_layout != "plain":
        _read_layout(folder, found_layout, with_test, found)
        return
    others = []
    for entry in entries:
        if entry.is_dir():
            is_test = entry.name.lower() == _TEST_FOLDER and not with_test
            if entry.name.lower() not in _LABEL_FOLDERS and not is_test:
                _walk(entry, layout, with_test, found, seen)
        elif image_suffix(entry) is None:
            others.append(entry)
        elif image_suffix(entry) in SEGMENTATION_SUFFIXES or _LABEL_NAME.search(stem(entry)):
            found.skipped.append(Failure(str(entry), f"{entry}: is a label map by its name"))
        else:
            found.cases.append(Case(id=stem(entry), images=(entry,)))
    if others and holds_series(folder):
        found.cases.append(Case(id=place.name, images=(folder,)))
    elif others and holds_dicom(folder):
        found.skipped.append(Failure(str(folder), f"{folder}: holds {held_by(folder)}, no image"))


def without_repeats(cases: Iterable[Case]) -> Iterator[Case]:
    """Cases without their labels; each set of files once."""
    seen = set()
    for case in cases:
        if (files := real_files(case)) not in seen:
            seen.add(files)
            yield replace(case, label=None)


def real_files(case: Case) -> tuple[Path, ...]:
    """The files of the images, without links."""
    return tuple(real_path(image) for image in case.images)
