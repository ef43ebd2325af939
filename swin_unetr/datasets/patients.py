"""Which patient a scan is of: what a `patients.csv` beside the scans says, else the layout, else the scans' names."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.faults import PatientsError
from swin_unetr.datasets.labelled import is_side_table
from swin_unetr.datasets.names import patients_by_names
from swin_unetr.datasets.side_files import (
    CASE,
    FILE,
    PATIENT,
    has_column,
    known_id,
    read_table,
    refuse_strangers,
    value_of,
)
from swin_unetr.files import write_text
from swin_unetr.suggestions import listed_with_nearest

PATIENTS = "patients.csv"
_COLUMNS = ("case", "patient")
#: May name the patients beside what was looked for (`labelled`).
_SIDE_TABLE = "cases.csv"


def with_patients(
    dataset: Dataset, folder: Path, others: Callable[[], Collection[str]], *, is_part: bool = False
) -> Dataset:
    """A data set whose cases know their patients.

    Args:
        dataset: as read from its layout.
        folder: where a `patients.csv` may lie.
        others: gives the ids of cases that are not listed now but may have a row, such as test cases.
        is_part: whether the data set is one of several lists in the folder; then the file may name the cases of all.

    Raises:
        PatientsError: the file lacks its two columns, names two patients for a case, or names cases that are not there.
    """
    path = _table_in(folder)
    if path is None:
        return dataset if dataset.groups else _named(dataset)
    ids = {case.id for case in dataset.cases}
    patients = read_patients(path, ids)
    refuse_strangers(path, patients, ids, others, is_part=is_part, error=PatientsError)
    cases = tuple(replace(case, group=patients.get(case.id) or case.group) for case in dataset.cases)
    notes = dataset.notes
    if alone := sorted(case.id for case in cases if case.group is None):
        words = f"{path.name} does not name the patient of {len(alone)} of {len(cases)} cases, each of which counts as "
        notes = (*notes, f"{words}a patient of its own: {listed_with_nearest(alone, ())}")
    return replace(dataset, cases=cases, notes=notes)


def _table_in(folder: Path) -> Path | None:
    """The table of patients in a folder; a `cases.csv` that lists no images may be one too."""
    if (path := folder / PATIENTS).is_file():
        return path
    side = folder / _SIDE_TABLE
    if not side.is_file() or not is_side_table(side) or not has_column(read_table(side)[0], PATIENT):
        return None
    return side


def _named(dataset: Dataset) -> Dataset:
    """The patients by the names of the scans, if these show that two are of one patient."""
    patients = patients_by_names(case.id for case in dataset.cases)
    if not patients:
        return dataset
    cases = tuple(replace(case, group=patients.get(case.id)) for case in dataset.cases)
    return replace(dataset, cases=cases, patients_by_names=True)


def read_patients(path: Path, ids: Collection[str]) -> dict[str, str | None]:
    """Patient by case; an id that fits no case stays as in the file.

    Args:
        path: the file.
        ids: of the cases that are there.

    Raises:
        DataError: the file cannot be read, lacks its two columns, or names two patients for a case.
    """
    columns, rows = read_table(path)
    if not has_column(columns, (*CASE, *FILE)) or not has_column(columns, PATIENT):
        raise PatientsError(f"{path}: needs the columns {', '.join(_COLUMNS)}; it has {', '.join(columns) or 'none'}")
    patients: dict[str, str | None] = {}
    for row in rows:
        named = value_of(row.cells, (*CASE, *FILE))
        if named is None:
            raise PatientsError(f"{path}: row {row.number} names no case; fill the cell in, or take the row out")
        case, patient = known_id(named, ids), value_of(row.cells, PATIENT)
        if patients.setdefault(case, patient) != patient:
            raise PatientsError(f"{path}: names two patients for {case}: {patients[case]} and {patient}; keep one row")
    return patients


def write_patients(folder: Path, groups: Mapping[str, str]) -> None:
    """Write the file that `with_patients` reads."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *sorted(groups.items())])
    write_text(folder / PATIENTS, text.getvalue())
