"""Names that nearly match, for messages about two sets of cases that have none in common."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_names(wanted: Iterable[str], there: Iterable[str], most: int = 3) -> str:
    """The first pairs of names that are nearly the same, or one name of each side; in brackets, with a space before."""
    cases, known = sorted(wanted), sorted(there)
    pairs = ((case, difflib.get_close_matches(case, known, n=1)) for case in cases)
    near = [f"{case} is nearly {match[0]}" for case, match in pairs if match]
    examples = f"such as {cases[0] if cases else 'none'} and {known[0] if known else 'none'}"
    return f" ({'; '.join(near[:most]) if near else examples})"
