"""Numbers and failures in plain words."""

from __future__ import annotations

import errno

#: Causes for which nothing can be written, and what to do about each.
_CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("no room left on the disk", "free some, and go on"),
    errno.EDQUOT: ("your share of the disk is used up", "free some, and go on"),
    errno.EFBIG: ("the file grows larger than is allowed", "raise the limit (ulimit -f), or choose another disk"),
    errno.EACCES: ("permission denied", "check your permissions, or choose another folder"),
    errno.EPERM: ("not permitted", "check your permissions, or choose another folder"),
    errno.EROFS: ("the disk is read-only", "choose another folder"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOTDIR: ("a file is where a folder is wanted", "check the path"),
    errno.EISDIR: ("a folder is where a file is wanted", "check the path"),
    errno.EEXIST: ("something else has this name", "check the path"),
    errno.ENOENT: ("a folder of the path has gone", "check the path, and whether the disk is connected"),
    errno.EIO: ("the disk reports an error", "check the disk, or choose another one"),
    errno.ESTALE: ("the network disk has lost the file", "check the connection, and go on"),
}


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, such as "1 case" and "12,000 cases".

    Args:
        number: how many.
        noun: of one.
        plural: of several. If None, `noun` with an "s".
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def why_not_written(error: OSError) -> str:
    """Why something cannot be written, and what to do, as it fits the cause."""
    cause, remedy = _CAUSES.get(error.errno or 0, ("", "check the path and the disk"))
    return f"cannot be written ({cause or error.strerror or error}); {remedy}"
