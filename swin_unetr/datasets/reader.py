"""What a layout of data sets consists of: its name, how it is recognised, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from swin_unetr.datasets.case import Dataset


class ReadCases(Protocol):
    """Lists the cases of a data set by the names of its files; no voxels are read."""

    def __call__(self, root: Path, *, with_test: bool) -> Dataset:
        """List the cases.

        Args:
            root: the folder, or the file that describes the data set.
            with_test: whether test cases, which have no labels, are listed too. A layout without test cases lists the
                same either way.

        Raises:
            DataError: the folder is inconsistent; within `faults.noting`, the fault of one case is noted instead.
        """


def _never(_: Path) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A layout; `swin_unetr.datasets.readers.READERS` lists them all."""

    #: Value of the option `--layout`, and of the field `layout` in a recipe.
    name: str
    #: What such a folder looks like, in one line: the documentation shows it, and the error of a folder without scans.
    looks: str
    #: What gives the structures their names, in one line, for the documentation.
    structures: str
    #: Whether a folder looks like this, by the names of its files.
    recognises: Callable[[Path], bool]
    read: ReadCases
    #: Whether a path is, or a folder contains, a file that a person wrote to describe a data set in this way. It
    #: decides, whatever the folder looks like.
    described_by: Callable[[Path], bool] = _never
