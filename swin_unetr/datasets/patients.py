"""Which patient a scan is of, where a `patients.csv` beside the scans says so, whatever the layout."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from swin_unetr.datasets.case import Case
from swin_unetr.errors import DataError
from swin_unetr.files import write_text

PATIENTS = "patients.csv"
_COLUMNS = ("case", "patient")


def with_patients(folder: Path, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases with the patients that the folder's `patients.csv` names; as they are where there is none.

    Raises:
        DataError: the file lacks its two columns.
    """
    path = folder / PATIENTS
    if not path.is_file():
        return cases
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not set(_COLUMNS) <= set(rows.fieldnames or ()):
            raise DataError(f"{path}: needs the columns {', '.join(_COLUMNS)}")
        patients = {row["case"]: row["patient"] for row in rows}
    return tuple(replace(case, group=patients.get(case.id) or case.group) for case in cases)


def write_patients(folder: Path, groups: Mapping[str, str]) -> None:
    """Write the file that `with_patients` reads."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *sorted(groups.items())])
    write_text(folder / PATIENTS, text.getvalue())
