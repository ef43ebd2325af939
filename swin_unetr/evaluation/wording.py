"""Numbers in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number and its noun, such as "1 case" and "2 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def scans_of_patients(scans: int, patients: int, kind: str = "") -> str:
    """How many cases there are, of a kind such as "evaluated", and of how many patients where that is not the same."""
    kind = f"{kind} " if kind else ""
    if patients == scans:
        return counted(scans, f"{kind}case")
    return f"{counted(scans, f'{kind}scan')} of {counted(patients, 'patient')}"
