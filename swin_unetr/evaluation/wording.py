"""Numbers of scans and patients in words."""

from __future__ import annotations

from swin_unetr.words import count


def scans_of_patients(scans: int, patients: int, kind: str = "") -> str:
    """How many cases there are, of a kind such as "evaluated", and of how many patients where that is not the same."""
    kind = f"{kind} " if kind else ""
    if patients == scans:
        return count(scans, f"{kind}case")
    return f"{count(scans, f'{kind}scan')} of {count(patients, 'patient')}"
