"""Infers the patient from the name of a scan, only where that is sure: a false patient is as bad as a missed one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

#: Names of published data sets: the patient, and which of the patient's scans it is.
_PUBLISHED = (
    re.compile(r"(BraTS-[A-Z]+(?:-[A-Z]+)?-\d+)-\d+", re.IGNORECASE),  # from 2023 on: BraTS-GLI-00000-100
    re.compile(r"(BraTS1[5-9]_[A-Z0-9]+_[A-Z0-9]+)_\d+", re.IGNORECASE),  # 2017 to 2019: Brats18_CBICA_AAB_1
    re.compile(r"(UPENN-GBM-\d+)_\d+", re.IGNORECASE),
    re.compile(r"(\d{5})_\d{7}"),  # PI-CAI: the patient and the study
    re.compile(r"(OAS\d+_\d+)_MR\d+|(OAS\d+)_MR_d\d+", re.IGNORECASE),  # OASIS 1 to 3
)
#: BIDS names, in any layout: sub-01_ses-2_T1w.
_BIDS = re.compile(r"(sub-[A-Za-z0-9]+)(?:_.+)?")
#: Words that say which scan of a patient it is; a number may follow, and must follow the short ones.
_WORDS = (
    "frame|phase|timepoint|time|visit|session|ses|exam|week|month|day|year|run|baseline|bl|followup|fu|pre|post|ed|es"
)
_NUMBERED = "t|tp|v|vis"
_DATE = r"(?:19|20)\d\d[-._]?\d\d[-._]?\d\d"
#: A number, days, and which scan of the time it is: 2, 001d, 012-1.
_NUMBER = r"\d{1,4}d?(?:-\d{1,2})?"
_SUFFIX = rf"[-_. ](?:(?:{_WORDS})(?:[-_]?{_NUMBER})?|(?:{_NUMBERED})[-_]?{_NUMBER}|{_DATE})"
#: `patient007_frame01`, `P12-visit2`, `lung3_pre`, `K5_2019-03-02`: the part before must have a number.
_REPEATED = re.compile(rf"(?P<patient>.*?\d.*?)(?:{_SUFFIX})+", re.IGNORECASE)


def patients_by_names(ids: Iterable[str]) -> dict[str, str]:
    """Patient by case id, for the cases whose name shows it; empty unless some patient has several scans.

    Args:
        ids: of all cases.
    """
    cases = list(ids)
    patients = {case: patient for case in cases if (patient := _published(case)) is not None}
    others = [case for case in cases if case not in patients]
    repeated = {case: match["patient"] for case in others if (match := _REPEATED.fullmatch(case))}
    # A prefix that all scans have is the name of the data set, not of a patient.
    if len(set(repeated.values())) > 1 or len(repeated) < len(cases):
        patients |= repeated
        patients |= {case: case for case in set(repeated.values()).intersection(cases)}  # a first scan without a suffix
    several = any(count > 1 for count in Counter(patients.values()).values())
    return patients if several else {}


def _published(case: str) -> str | None:
    for pattern in (*_PUBLISHED, _BIDS):
        if match := pattern.fullmatch(case):
            return next(group for group in match.groups() if group)
    return None
