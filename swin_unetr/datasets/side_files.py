"""Files that people write beside scans: JSON, tables and lists, from any program and system.

Byte order marks, Windows line ends and paths, semicolons and tabs, blanks around cells, the case of column names, and
names of files where the id of a case is wanted are understood here and nowhere else.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_unetr.datasets.listing import posix_path, stem
from swin_unetr.errors import DataError
from swin_unetr.files import read_text
from swin_unetr.suggestions import listed_with_nearest

#: Names that the columns of a table, or the keys of an entry, have, as `plain` gives them.
CASE = ("case", "caseid", "id")
FILE = ("scan", "file", "filename", "image")
PATIENT = ("patient", "patientid", "subject", "subjectid", "participant", "participantid", "group")
#: `image`, or `image_T1`, `image:T1` with the name of a channel.
IMAGE = re.compile(r"image[ _:-]?(.*)", re.IGNORECASE)
_TABLES = (".csv", ".tsv")
#: An entry of a list that is the name of its column.
_HEADINGS = frozenset((*CASE, *FILE, "path"))


@dataclass(frozen=True)
class Row:
    """A line of a table: its number in the file, from 1, and its cells that are not empty by their columns."""

    number: int
    cells: Mapping[str, str]


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: no such file, or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error})") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        DataError: no such file, no JSON, or no object.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise DataError(f"{path}: should hold a JSON object")
    return values


def read_table(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """The columns of a table and its rows; commas, semicolons or tabs separate the cells.

    Raises:
        DataError: no such file, not text, or a row with more cells than there are columns.
    """
    text = read_text(path)
    lines = text.split("\n")
    marked = re.fullmatch(r"sep=(.)", lines[0].strip())  # Excel writes and reads such a line
    skipped = 1 if marked else 0
    head = lines[skipped] if len(lines) > skipped else ""
    delimiter = marked[1] if marked else max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO("\n".join(lines[skipped:])), delimiter=delimiter, skipinitialspace=True)
    columns: tuple[str, ...] = ()
    rows = []
    try:
        for cells in ([cell.strip() for cell in row] for row in reader):
            if not any(cells):
                continue
            if not columns:
                columns = tuple(cells)
                continue
            number = reader.line_num + skipped
            if any(cells[len(columns) :]):
                raise DataError(f"{path}: row {number} has {len(cells)} cells for {len(columns)} columns; quote them")
            rows.append(Row(number, {name: of for name, of in zip(columns, cells, strict=False) if name and of}))
    except csv.Error as error:
        raise DataError(f"{path}: is no table ({error}); save it as CSV") from error
    return columns, rows


def read_names(path: Path) -> tuple[str, ...]:
    """The entries of a list: a JSON list of strings, a column of a table, or text with one entry a line.

    In a table it is the first column that is named as cases or files are, else the first column with its name.
    In text, `#` at the start of a line or after a blank begins a comment.

    Raises:
        DataError: the file cannot be read, or is no list.
    """
    if path.suffix.lower() == ".json":
        entries = read_json(path)
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise DataError(f"{path}: should hold a JSON list of paths, case names or content hashes")
    elif path.suffix.lower() in _TABLES:
        columns, rows = read_table(path)
        named = [column for column in columns if plain(column) in _HEADINGS]
        column = next(iter([*named, *columns]), "")
        entries = [*(() if named else [column]), *(row.cells.get(column, "") for row in rows)]
    else:
        entries = [re.sub(r"(^|\s)#.*", "", line) for line in read_text(path).split("\n")]
    return tuple(entry for entry in (entry.strip().strip('"').strip() for entry in entries) if entry)


def value_of(entry: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value under the first of some names that an entry has, however written; None if it has none of them."""
    known = {plain(str(key)): of for key, of in entry.items()}
    return next((known[name] for name in names if known.get(name) not in (None, "")), None)


def has_column(columns: Iterable[str], names: Sequence[str]) -> bool:
    """Whether a table has a column of one of these names."""
    return not {plain(column) for column in columns}.isdisjoint(names)


def plain(name: str) -> str:
    """The name of a column without what programs write differently: `Patient ID`, `PatientID` and `patient_id`."""
    return re.sub(r"[\W_]", "", name).lower()


def case_id(name: str) -> str:
    """The id that a name means; the name may be that of the case's file: `scans/case_01.nii.gz` is `case_01`."""
    return stem(Path(posix_path(name.strip())))


def known_id(name: str, known: Collection[str]) -> str:
    """The id among the known ones that a name means; if there is no such id, the id as written."""
    return name if name in known else case_id(name)


def known_ids(names: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """The known ids of several names, each id once."""
    return tuple(dict.fromkeys(known_id(name, known) for name in names))


def refuse_strangers(
    path: Path,
    named: Collection[str],
    ids: Collection[str],
    others: Callable[[], Collection[str]],
    *,
    is_part: bool,
    error: type[DataError],
) -> None:
    """Refuse a table that names cases that are not there.

    Args:
        path: of the table.
        named: cases that it names.
        ids: of the cases that are listed.
        others: gives the ids of cases that are not listed now but may have a row, such as test cases.
        is_part: whether these are the cases of one of several lists in the folder; then a table may name those of all.
        error: what is raised.
    """
    there = set(ids)
    if unmatched := [name for name in named if name not in there]:
        there |= set(others())
        unmatched = [name for name in unmatched if name not in there]
    if unmatched and not (is_part and set(ids) <= set(named)):
        raise error(
            f"{path}: names {len(unmatched)} of {len(named)} cases that are not there: "
            f"{listed_with_nearest(unmatched, sorted(there))}; write the ids of the cases, or take these rows out"
        )


def duplicates(names: Iterable[str]) -> Iterator[str]:
    """Names that occur more than once, each once."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        if seen[name] == 2:
            yield name
