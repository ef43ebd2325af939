"""Which scans a pre-training can use, by their names alone: no voxels are read here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pretrain.scans.exclusions import Exclusions, apply_exclusions
from swin_unetr.batch import Failure
from swin_unetr.datasets import Case, find_layout, read_sound_cases
from swin_unetr.datasets.exports import held_by, with_own_ids
from swin_unetr.datasets.listing import SEGMENTATION_SUFFIXES, holds_dicom, holds_series, image_suffix, stem
from swin_unetr.datasets.lists import find_list, read_list
from swin_unetr.datasets.plain import is_image_file
from swin_unetr.errors import DataError
from swin_unetr.files import real_path, require
from swin_unetr.words import count

#: Folders and names of files that hold labels, not scans.
_LABEL_FOLDERS = frozenset(
    {"label", "labels", "labelstr", "labelsts", "mask", "masks", "segmentation", "segmentations"}
)
_LABEL_NAME = re.compile(r"[-_.](seg|segm|label|labels|mask|masks|segmentation|segmentations|dseg)$", re.IGNORECASE)
_TEST_FOLDER = "imagests"


@dataclass(frozen=True, kw_only=True)
class ScanList:
    """The scans that were found, and those that were not taken.

    Attributes:
        cases: in order; for DICOM, the image is the folder of the series.
        skipped: what looked like a scan and is not used, with the reason.
        exclusions: the list of exclusions, and the scans that were left out by name or path.
        copies: entries of that list which lie elsewhere, and the scans there: scans with the same voxels are left out.
        test: scans of a later test, which must not be among `cases`, under any name.
    """

    cases: tuple[Case, ...]
    skipped: tuple[Failure, ...] = ()
    exclusions: Exclusions = Exclusions()
    copies: tuple[tuple[str, Case], ...] = ()
    test: tuple[Case, ...] = ()

    @property
    def excluded(self) -> tuple[str, ...]:
        """Files of the scans that were left out by name or path."""
        return tuple(_where(case) for case in self.exclusions.cases)


@dataclass
class _Found:
    cases: list[Case] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)


def find_scans(
    paths: Sequence[Path | str],
    *,
    layout: str = "auto",
    with_test_cases: bool = False,
    exclude: Iterable[str] = (),
    test: Iterable[Path | str] = (),
) -> ScanList:
    """List the scans under some paths.

    Args:
        paths: folders of images (with their subfolders), of DICOM series, or in a labelled layout; single image files;
            JSON or CSV lists (`swin_unetr.datasets.lists`). A file found twice counts once.
        layout: of the folders; "auto" recognises each from its files.
        with_test_cases: take the test cases of labelled layouts (`imagesTs`, "test") too.
        exclude: scans to leave out: paths, folders, names of files or cases, content hashes (`read_exclusions`).
        test: folders or files of a later test.

    Raises:
        DataError: nothing there, no scan, or scans of the test among the others.
    """
    found = _Found()
    for path in paths:
        _list(Path(path), layout, with_test_cases, found)
    cases = with_own_ids(tuple(_without_repeats(found.cases)))
    exclusions = apply_exclusions(exclude, cases)
    left_out = set(exclusions.cases)
    kept = tuple(case for case in cases if case not in left_out)
    if not kept:
        why = f"; {len(cases)} are excluded" if cases else ""
        named = ", ".join(str(path) for path in paths)
        raise DataError(f"{named}: no scans to pre-train on{why}; check the folder, or name its --layout")
    tested = _Found()
    for path in test:
        _list(Path(path), "auto", True, tested)
    _refuse_overlap(kept, tested.cases)
    copies = []
    for entry in exclusions.elsewhere:
        listed = _Found()
        _list(Path(entry), "auto", True, listed)
        copies += [(entry, case) for case in _without_repeats(listed.cases)]
    return ScanList(
        cases=kept,
        skipped=tuple(found.skipped),
        exclusions=exclusions,
        copies=tuple(copies),
        test=tuple(_without_repeats(tested.cases)),
    )


def _list(path: Path, layout: str, with_test: bool, found: _Found) -> None:
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


def _read_layout(folder: Path, layout: str, with_test: bool, found: _Found) -> None:
    """The cases of a labelled layout; those that cannot be listed are skipped and reported."""
    dataset, faults = read_sound_cases(folder, layout=layout, with_test=with_test)
    found.cases += dataset.cases
    found.skipped += [Failure(fault.case or str(folder), str(fault)) for fault in faults]


def _walk(folder: Path, layout: str, with_test: bool, found: _Found, seen: set[Path]) -> None:
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


def _without_repeats(cases: Iterable[Case]) -> Iterator[Case]:
    """Cases without their labels; each set of files once."""
    seen = set()
    for case in cases:
        if (files := _files(case)) not in seen:
            seen.add(files)
            yield replace(case, label=None)


def _files(case: Case) -> tuple[Path, ...]:
    return tuple(real_path(image) for image in case.images)


def _where(case: Case) -> str:
    return str(case.images[0])


def _refuse_overlap(cases: Sequence[Case], test: Iterable[Case]) -> None:
    tested = {file for case in test for file in _files(case)}
    if common := [_where(case) for case in cases if not tested.isdisjoint(_files(case))]:
        raise overlap_error(common)


def overlap_error(common: Sequence[str]) -> DataError:
    """The error for scans that are in the test too."""
    more = f" and {len(common) - 5} more" if len(common) > 5 else ""
    named = ", ".join(common[:5]) + more
    belong = "belongs" if len(common) == 1 else "belong"
    return DataError(f"{count(len(common), 'scan')} {belong} to the test too: {named}; leave them out with --exclude")
