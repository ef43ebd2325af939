"""Whether a fault of one case ends the listing of a data set, or is noted while the others are listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from swin_unetr.errors import DataError


class ChannelMissingError(DataError):
    """A case lacks a channel that it should have."""


class DoubledIdError(DataError):
    """Two cases have one id."""


class PatientsError(DataError):
    """What says which patient a scan is of is wrong; the scans are not."""


_NOTED: ContextVar[list[DataError] | None] = ContextVar("noted", default=None)
_LOOKING: ContextVar[bool] = ContextVar("looking", default=False)


@contextmanager
def first_look() -> Iterator[None]:
    """Within the block, which only looks at names, doubled files are no fault: they are when the cases are read."""
    token = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(token)


def is_first_look() -> bool:
    """Whether only names are looked at."""
    return _LOOKING.get()


@contextmanager
def noting() -> Iterator[list[DataError]]:
    """Within the block, faults of single cases go into the list, and their cases are left out."""
    faults: list[DataError] = []
    token = _NOTED.set(faults)
    try:
        yield faults
    finally:
        _NOTED.reset(token)


def fault_of_case(case: str | None, error: DataError) -> None:
    """Note the fault of a case, which is then left out.

    Raises:
        DataError: the fault, if nobody is `noting` them.
    """
    with one_case(case):
        raise error


@contextmanager
def one_case(case: str | None = None) -> Iterator[None]:
    """Around what reads one case: its faults are errors, unless somebody is `noting` them.

    The first fault of a case is noted alone: that a channel is missing follows from two files that it has, neither of
    which counts.

    Args:
        case: its id, where it is known.
    """
    try:
        yield
    except DataError as error:
        error.case = error.case or case
        noted = _NOTED.get()
        if noted is None:
            raise
        if error.case is None or error.case not in {fault.case for fault in noted}:
            noted.append(error)
