"""Lengths of time, as people write them. Knows no torch."""

from __future__ import annotations

import re

#: Seconds of a unit, and how people spell it.
_UNITS = (
    (86_400.0, ("d", "day", "days")),
    (3_600.0, ("h", "hour", "hours")),
    (60.0, ("min", "mins", "minute", "minutes")),
    (1.0, ("s", "sec", "secs", "second", "seconds")),
)
_SECONDS = {spelling: seconds for seconds, spellings in _UNITS for spelling in spellings}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Seconds of "90min", "1h30min", "1.5 h", "45s".

    Args:
        text: numbers, each with its unit, and no unit twice.

    Raises:
        ValueError: it is no length of time.
    """
    refused = ValueError(f"{text!r} is no length of time; give numbers with units, such as 90min, 1h30min or 45s")
    total, at, seen = 0.0, 0, set()
    while at < len(text):
        part = _PART.match(text, at)
        unit = None if part is None else _SECONDS.get(part[2].lower())
        if part is None or unit is None or unit in seen:
            raise refused
        seen.add(unit)
        total += float(part[1]) * unit
        at = part.end()
    if not total:
        raise refused
    return total


def duration_in_words(seconds: float) -> str:
    """A length of time in the units that suit it, such as "1 h 30 min", "2 min 5 s" or "45 s"."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = [f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0)
    parts += [f"{rest} s"] * (rest > 0 and not hours)
    return " ".join(parts) or f"{seconds:.2g} s"


def at_least(seconds: float) -> str:
    """A length of time that is no shorter, rounded up to what a person would type: 5 s, 1 min or 5 min."""
    unit = 5 if seconds <= 120 else 60 if seconds <= 3600 else 300
    return duration_in_words(-(-seconds // unit) * unit)
