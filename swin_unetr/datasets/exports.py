"""Exports from an archive or a scanner: nested folders of patients, studies and DICOM series."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from swin_unetr.datasets.case import Case
from swin_unetr.datasets.dicom_objects import dicom_object
from swin_unetr.datasets.listing import dicom_files, holds_dicom, holds_series, visible

#: A note names at most this many folders.
_NAMED = 5


@dataclass
class Series:
    """The DICOM series below a folder.

    Attributes:
        folders: by id. The id of a series that is alone in its folder of the top level (a patient's, say) is that
            folder's name; other ids have the names of all levels.
        patients: name of the folder of the top level, by id.
        notes: what was left out, in a line each, for people.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_series(root: Path) -> Series:
    """The folders with a DICOM series below a folder, at any depth; the folder itself is not among them."""
    series = Series()
    others: list[Path] = []
    seen = {root.resolve()}
    for top in _folders(root):
        found = list(_below(top, seen, others, series.notes))
        for folder in found:
            name = top.name if len(found) == 1 else "_".join(folder.relative_to(root).parts)
            if name in series.folders:  # a_b/c and a/b_c
                name = f"{name}_{len(series.folders)}"
            series.folders[name] = folder
            series.patients[name] = top.name
    if others:
        named = ", ".join(f"{path.relative_to(root)} ({held_by(path)})" for path in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        series.notes.append(f"left out, because they hold no image: {named}{more}")
    return series


def with_own_ids(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Cases with unique ids: series of the same name take the names of the folders above too."""
    counts = Counter(case.id for case in cases)
    shared = {case.id for case in cases if counts[case.id] > 1 and case.images[0].is_dir()}
    above: dict[str, str] = {}
    for name in shared:
        parents = [os.path.dirname(os.path.abspath(case.images[0])) for case in cases if case.id == name]
        above[name] = os.path.commonpath(parents)
    return tuple(
        replace(case, id=os.path.relpath(os.path.abspath(case.images[0]), above[case.id]).replace(os.sep, "_"))
        if case.id in shared and case.images[0].is_dir()
        else case
        for case in cases
    )


def _below(folder: Path, seen: set[Path], others: list[Path], notes: list[str]) -> Iterator[Path]:
    """A folder and those below it that hold a series; folders with only other objects go into `others`."""
    if (place := folder.resolve()) in seen:  # links may lead back up
        return
    seen.add(place)
    try:
        if holds_series(folder):
            yield folder
        elif holds_dicom(folder):
            others.append(folder)
        inner = _folders(folder)
    except OSError as error:
        notes.append(f"left out: {folder} cannot be listed ({error.strerror})")
        return
    for one in inner:
        yield from _below(one, seen, others, notes)


def _folders(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.is_dir()]


def held_by(folder: Path) -> str:
    """In words, what a folder holds whose DICOM files are not images."""
    return ", ".join(dict.fromkeys(dicom_object(path).name for path in dicom_files(folder)))
