"""What every reader of a folder layout gives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from swin_unetr.tasks import Task
from swin_unetr.words import count

#: Structures that a summary names: BTCV has 13; of the 117 of TotalSegmentator nobody would read on.
_MOST_NAMED = 15
#: What it means that a label file holds no voxel of a structure: it is not there, or nobody looked for it.
Absent = Literal["background", "not_looked_for"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """The files of one scan."""

    #: Name of the case: the stem of its predictions, the key of folds and reports.
    id: str
    #: One file per channel in the task's order, or a single file that holds all channels in its fourth axis. A DICOM
    #: series is its folder.
    images: tuple[Path, ...]
    #: Label file. If None, the case has no label.
    label: Path | None = None
    #: The patient, if the layout knows: scans of one patient belong in one fold.
    group: str | None = None
    #: Names of the structures that were looked for; others may be in the scan, unmarked. If None, all were.
    labelled: frozenset[str] | None = None
    #: What the values of its label file mean, if this is not the task of the data set (`union.join`). If None, it is.
    task: Task | None = None
    #: How many channels the data set names. If None, it does not say.
    channels: int | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set: its cases, sorted by id, and what is known of its task."""

    root: Path
    #: Name of the layout that was recognised or given.
    layout: str
    cases: tuple[Case, ...]
    #: What the layout says about the labels. If None, it says nothing (a plain folder without a description).
    task: Task | None = None
    #: Names of the input channels, if the layout knows them without a task.
    channels: tuple[str, ...] = ()
    #: Folder of the whole data set, where `root` is one part of it; side files lie there. If None, it is `root`.
    whole: Path | None = None
    #: Whether the patients are inferred from the names of the scans alone.
    patients_by_names: bool = False
    #: What it means that a label file holds no voxel of a structure, for cases that do not say what was looked for.
    absent: Absent = "background"
    #: Folders of the data sets that were joined; `root` is then a name for messages. Empty if nothing was joined.
    parts: tuple[Path, ...] = ()
    #: What was left out or assumed, in a line each, for people.
    notes: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Its folder; those of all data sets that were joined."""
        return self.parts or (self.root,)

    @property
    def groups(self) -> dict[str, str]:
        """Patient by case id, for the cases whose patient is known."""
        return {case.id: case.group for case in self.cases if case.group is not None}

    def with_counted_channels(self) -> Dataset:
        """The same data set, in which each case knows how many channels are named."""
        named = self.task.channels if self.task is not None else self.channels
        return replace(self, cases=tuple(replace(case, channels=len(named) or None) for case in self.cases))

    def _patients(self) -> str:
        """How many patients; if inferred from names, also of how many scans, and how to correct it."""
        alone = sum(case.group is None for case in self.cases)
        patients = len(set(self.groups.values())) + alone * self.patients_by_names
        inferred = f"{count(len(self.cases), 'scan')} of {count(patients, 'patient')}, by their names"
        return f"{inferred} (a patients.csv overrules them)" if self.patients_by_names else count(patients, "patient")

    def summary(self) -> str:
        """What was found, in one line, and the notes below it."""
        labelled = sum(case.label is not None for case in self.cases)
        parts = [f"{count(len(self.cases), 'case')}, {labelled} with labels"]
        if self.groups:
            parts.append(self._patients())
        if channels := self.task.channels if self.task else self.channels:
            parts.append(f"channels {', '.join(channels)}")
        if self.task:
            names = [target.name for target in self.task.targets]
            listed = names if len(names) <= _MOST_NAMED else [*names[:3], f"… ({len(names)} in all)"]
            parts.append(f"structures {', '.join(listed)}")
        return "\n".join([f"{self.root}: layout {self.layout}: {'; '.join(parts)}", *self.notes])
