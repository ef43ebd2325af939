"""What every reader of a folder layout gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swin_unetr.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Case:
    """The files of one scan."""

    #: Name of the case: the stem of its predictions, the key of folds and reports.
    id: str
    #: One file per channel in the task's order, or a single file that holds all channels in its fourth axis.
    images: tuple[Path, ...]
    #: Label file, where there is one.
    label: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set: its cases, sorted by id, and what is known of its task."""

    root: Path
    #: Name of the layout that was recognised or given.
    layout: str
    cases: tuple[Case, ...]
    #: What the layout says of the labels; none where it says nothing (a plain folder without a description).
    task: Task | None = None
