"""Names that nearly match, for messages about names that match nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def near_names(wanted: Iterable[str], there: Iterable[str], most: int = 3) -> str:
    """The first pairs of names that are nearly the same, or one name of each side; in brackets, with a space before."""
    cases, known = sorted(wanted), sorted(there)
    pairs = ((case, nearest(case, known)) for case in cases)
    near = [f"{case} is nearly {match}" for case, match in pairs if match is not None]
    examples = f"such as {cases[0] if cases else 'none'} and {known[0] if known else 'none'}"
    return f" ({'; '.join(near[:most]) if near else examples})"


def nearest(name: str, there: Iterable[str]) -> str | None:
    """The name that is nearly this one; None if the nearest differs by its numbers alone, which is another case.

    A name without the leading zeros of another one, as spreadsheets write numbers, is nearly this one however short.
    """
    known = list(there)
    for form in (str.lower, _without_zeros):
        if same := [other for other in known if form(other) == form(name)]:
            return same[0]
    (near,) = difflib.get_close_matches(name, known, n=1) or (None,)
    return near if near is None or _numbers(near) == _numbers(name) or _words(near) != _words(name) else None


def listed_with_nearest(names: Iterable[str], there: Iterable[str], most: int = 5) -> str:
    """The names, each with the one that is nearly the same in brackets; after `most` of them their number."""
    listed, known = list(names), list(there)
    pairs = ((name, nearest(name, known)) for name in listed[:most])
    words = [name if near is None else f"{name} (did you mean {near}?)" for name, near in pairs]
    return ", ".join(words) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _without_zeros(name: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", name.lower())


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _words(name: str) -> list[str]:
    return re.split(r"\d+", name)
