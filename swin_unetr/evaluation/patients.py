"""Which patient each evaluated case is of: the unit of means, intervals, tests and rankings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from swin_unetr.datasets.names import patients_by_names
from swin_unetr.datasets.patients import PATIENTS, read_patients
from swin_unetr.errors import DataError
from swin_unetr.suggestions import listed_with_nearest, near_names
from swin_unetr.words import count


def find_patients(
    table: Path | None, references: Path, known: Mapping[str, str], cases: Collection[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Patient by case, for the cases whose patient is known; a note about the others.

    Args:
        table: the user's own list; it must name the patient of every case.
        references: where the references lie; a `patients.csv` there is read, and one beside their folder if the data
            set says nothing.
        known: what the data set says of its cases, from such a file, its layout, or their names.
        cases: the cases that are asked for.

    Raises:
        DataError: a table that cannot be read, or one of the user's that lacks a case.
    """
    if table is not None:
        return patients_in(table, cases), ()
    folders = (references,) if known else (references, references.parent)
    beside = next((folder / PATIENTS for folder in folders if (folder / PATIENTS).is_file()), None)
    if beside is None and not known:
        return patients_by_names(cases), ()
    # The data set does not name the patients of cases that it could not list.
    named = {**(read_patients(beside, cases) if beside is not None else {}), **known}
    patients = {case: patient for case in cases if (patient := named.get(case))}
    return patients, tuple(_unknown(sorted(set(cases) - set(patients)), cases, set(named) - set(cases)))


def _unknown(lacking: Sequence[str], cases: Collection[str], others: Iterable[str]) -> Iterator[str]:
    """A note about cases whose patient is not known, with similar names among `others`."""
    if lacking:
        yield (
            f"the patient of {len(lacking)} of {count(len(cases), 'case')} is not known, each of which counts as a "
            f"patient of its own: {listed_with_nearest(lacking, sorted(others))}"
        )


def patients_in(table: Path, cases: Collection[str]) -> dict[str, str]:
    """The patient of every case, from a table with the columns case and patient.

    Raises:
        DataError: the table cannot be read, or lacks a case.
    """
    named = read_patients(table, cases)
    if lacking := sorted(case for case in cases if not named.get(case)):
        near = near_names(lacking, named)
        raise DataError(
            f"{table}: does not name the patient of {len(lacking)} of {len(cases)} cases{near}; add a row for each"
        )
    return {case: str(named[case]) for case in cases}


def merged_patients(of_methods: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """Patient by case, from what several reports say.

    Args:
        of_methods: name of the method, and its patients by case.

    Raises:
        DataError: two that do not agree.
    """
    patients: dict[str, str] = {}
    for name, known in of_methods:
        for case, patient in known.items():
            if patients.setdefault(case, patient) != patient:
                raise DataError(
                    f"{name}: case {case} is of patient {patient}, by another report of {patients[case]}; "
                    "say which with --patients FILE"
                )
    return patients
