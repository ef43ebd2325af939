"""What is odd about the files that a training reads, and how it was decided; each kind is printed once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from swin_unetr.datasets.case import Case
from swin_unetr.errors import DataError
from swin_unetr.machine import cores
from swin_unetr.store.filling import in_parallel, quiet
from swin_unetr.words import count
from transforms.io import read_verdict

#: Key in the record of a run.
FILE_NOTES = "file_notes"
#: Files that a line names.
_NAMED = 3
_Notes = dict[str, list[str]]


def file_notes(cases: Sequence[Case], before: Mapping[str, Any]) -> tuple[_Notes, list[str]]:
    """The notes from reading the files; on the first process.

    Args:
        cases: that the run reads, with or without labels.
        before: record of the run that is resumed, whose notes were printed already; else empty.

    Returns:
        For the record, "file: words" by the id of the case, for cases with notes; lines for the user.
    """
    if before or rank_zero_only.rank != 0:
        return before.get(FILE_NOTES, {}), []
    found = in_parallel(_of_case, cases, cores(), quiet, "files")
    notes = {case.id: of for case, of in zip(cases, found, strict=True) if of}
    by_case = {case: [f"{_name(path)}: {words}" for path, words in of] for case, of in notes.items()}
    return by_case, list(grouped(note for of in notes.values() for note in of))


def grouped(notes: Iterable[tuple[Path, str]]) -> Iterator[str]:
    """A line for each sentence, with the files that it is about; sentences that differ in numbers alone are one.

    Args:
        notes: a file, and words about it.
    """
    groups: dict[str, list[tuple[Path, str]]] = {}
    for path, words in dict.fromkeys(notes):
        groups.setdefault(re.sub(r"[-+]?\d[\d.,e+-]*", "#", words), []).append((path, words))
    for group in groups.values():
        names, words = [_name(path) for path, _ in group], group[0][1]
        if len(names) == 1:
            yield f"warning: {names[0]}: {words}"
            continue
        listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        differ = any(other != words for _, other in group)
        yield f"warning: {count(len(names), 'file')} ({listed}): {words}" + (" (numbers of the first)" * differ)


def _of_case(case: Case) -> list[tuple[Path, str]]:
    """The file and the words of each note on the files of a case."""
    notes = []
    for path in (*case.images, *([] if case.label is None else [case.label])):
        try:
            notes += [(note.path or path, note.words) for note in read_verdict(path).notes]
        except DataError:
            continue  # what is wrong with a file is said when it is read
    return notes


def _name(path: Path) -> str:
    """With its folder: a scan and its label may have one name."""
    return f"{path.parent.name}/{path.name}"
