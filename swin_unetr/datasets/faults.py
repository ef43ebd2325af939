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


_NOTED: ContextVar[list[DataError] | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[list[DataError]]:
    """Within the block, faults of single cases go into the list, and their cases are left out."""
    faults: list[DataError] = []
    token = _NOTED.set(faults)
    try:
        yield faults
    finally:
        _NOTED.reset(token)


@contextmanager
def one_case() -> Iterator[None]:
    """Around what reads one case: its faults are errors, unless somebody is `noting` them."""
    try:
        yield
    except DataError as error:
        noted = _NOTED.get()
        if noted is None:
            raise
        noted.append(error)
