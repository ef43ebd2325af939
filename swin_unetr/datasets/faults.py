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
    """The table of patients is wrong; the scans are not."""


class LabelledError(PatientsError):
    """What a table says of the structures that were looked for is wrong; the scans are not."""


_NOTED: ContextVar[list[DataError] | None] = ContextVar("noted", default=None)
_LOOKING: ContextVar[bool] = ContextVar("looking", default=False)


@contextmanager
def first_look() -> Iterator[None]:
    """Within the block only names are looked at: doubled files are not a fault until the cases are read."""
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
        DataError: the fault, unless within `noting`.
    """
    with one_case(case):
        raise error


@contextmanager
def one_case(case: str | None = None) -> Iterator[None]:
    """Within the block one case is read: its faults are errors, or are noted within `noting`.

    Only the first fault of a case is noted: if a channel has two files, neither counts, and the channel would
    also be missing.

    Args:
        case: its id, if known.
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
