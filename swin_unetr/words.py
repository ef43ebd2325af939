"""Numbers and failures in plain words."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable

#: What to do where something cannot be written, by the cause.
_REMEDIES: dict[int, str] = {
    errno.ENOSPC: "make room on the disk, and go on",
    errno.EDQUOT: "your share of the disk is used up: make room in it, and go on",
    errno.EFBIG: "raise the limit of the size of files (ulimit -f), or choose another disk",
    errno.EACCES: "check your permissions, or choose another folder",
    errno.EPERM: "check your permissions, or choose another folder",
    errno.EROFS: "choose a folder on another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "check the path: a file is where a folder is wanted",
    errno.EISDIR: "check the path: a folder is where a file is wanted",
    errno.EEXIST: "check the path: something else has this name",
    errno.ENOENT: "check the path, and whether the disk is connected",
    errno.EIO: "check the disk, or choose another one",
    errno.ESTALE: "check the connection to the network disk, and go on",
}


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, such as "1 case" and "12,000 cases".

    Args:
        number: how many.
        noun: of one.
        plural: of several. If None, `noun` with an "s".
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def by(values: Iterable[float], digits: int = 6) -> str:
    """Values along the axes, such as "1.5 x 1.5 x 2"."""
    return " x ".join(f"{value:.{digits}g}" for value in values)


def why_not_written(error: OSError) -> str:
    """Why something cannot be written, and what to do, as it fits the cause."""
    remedy = _REMEDIES.get(error.errno or 0, "check the path and the disk")
    return f"cannot be written ({error.strerror or error}); {remedy}"


def decimal(value: float, digits: int = 4, *, signed: bool = False) -> str:
    """A value for people, such as 0.1235: an undefined one (NaN) is a dash, an infinite one is written ∞."""
    return "–" if math.isnan(value) else f"{value:{'+' * signed}.{digits}f}".replace("inf", "∞")


def interval(low: float, high: float, digits: int = 4, *, signed: bool = False) -> str:
    """The ends of an interval, "0.123 to 0.456": a dash where it is undefined."""
    return "–" if math.isnan(low) else " to ".join(decimal(end, digits, signed=signed) for end in (low, high))
