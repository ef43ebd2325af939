"""The cases that the paths of a prediction mean: files, folders and data sets, for the channels of a task."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from swin_unetr.batch import Failure
from swin_unetr.datasets import Case, find_layout, read_sound_cases
from swin_unetr.datasets.brats_layouts import brats_files
from swin_unetr.datasets.channels import match_channels
from swin_unetr.datasets.faults import PatientsError, noting
from swin_unetr.datasets.side_files import known_ids
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.batch.channels import in_order
from swin_unetr.suggestions import nearest
from swin_unetr.tasks import Task


@dataclass
class Inputs:
    """What was found under the paths."""

    cases: list[Case] = field(default_factory=list)
    #: Paths that hold no scan, and cases that lack a channel.
    failures: list[Failure] = field(default_factory=list)
    #: For people: the layout of each data set among the paths, and what was left out of a plain folder.
    notes: list[str] = field(default_factory=list)


def find_inputs(
    paths: Iterable[Path],
    task: Task,
    *,
    layout: str,
    selected: Sequence[str] | None,
    channels: Sequence[str] | None = None,
) -> Inputs:
    """List the cases.

    Args:
        paths: image files, folders of them, roots of data sets; a path given twice counts once.
        task: channels that a case needs; they are matched by name where the layout knows the names of its own.
        layout: of the folders, or "auto".
        selected: ids of the cases that are wanted, or names of their files; each that is not there is a failure. If
            None, all cases.
        channels: what the channels of the inputs are, by the task's names, in the order of their files. If None, their
            own names count.

    Raises:
        ConfigError: no such layout, channels that the task does not have, or two scans of the same id.
    """
    found = Inputs()
    paths = list(dict.fromkeys(path if path.name else path.resolve() for path in paths))
    for path in paths:
        try:
            listed = _list(path, task, layout, channels)
            found.cases += listed.cases
            found.failures += listed.failures
            found.notes += listed.notes
        except DataError as error:
            found.failures.append(Failure(path.name, str(error)))
    if selected is not None:
        _select(found, selected, {path.name for path in paths})
    _refuse_same_id(found.cases)
    return found


def _select(found: Inputs, selected: Sequence[str], paths: Collection[str]) -> None:
    """Keep what is selected, and the failures of whole paths; what is not there is a failure."""
    listed = {case.id for case in found.cases}
    known = listed | {failure.case for failure in found.failures}
    wanted = known_ids(selected, known)
    found.cases = [case for case in found.cases if case.id in wanted]
    found.failures = [failure for failure in found.failures if failure.case in wanted or failure.case in paths]
    for case in wanted:
        if case not in known:
            near = nearest(case, sorted(listed))
            meant = f" (did you mean {near}?)" if near else ""
            found.failures.append(Failure(case, f"no such case among the inputs{meant}; check its name"))


def _list(path: Path, task: Task, layout: str, channels: Sequence[str] | None) -> Inputs:
    """The cases under one path, those that lack a channel, and those that cannot be listed."""
    chosen = find_layout(path) if layout == "auto" else layout
    if chosen == "brats":
        return _list_brats(path, task, channels)
    dataset, faults = read_sound_cases(path, layout=chosen, with_test=True)
    cases, assumed = in_order(dataset, task.channels, channels)
    notes = [*dataset.notes] if dataset.layout == "plain" else dataset.summary().splitlines()
    notes += [*assumed, *(str(fault) for fault in faults if isinstance(fault, PatientsError))]
    failures = [_failure(path, fault) for fault in faults if not isinstance(fault, PatientsError)]
    return Inputs([*cases], failures, notes)


def _list_brats(path: Path, task: Task, channels: Sequence[str] | None) -> Inputs:
    if channels is not None:
        raise ConfigError(f"channels: the files of {path} say by their names what they are; leave out --channels")
    found = Inputs(notes=[f"{path}: layout brats"])
    with noting() as faults:
        listed = brats_files(path)
    found.failures += [_failure(path, fault) for fault in faults]
    faulty = {fault.case for fault in faults}
    for case, files in ((case, files) for case, files in listed.items() if case not in faulty):
        places = match_channels(tuple(files), task.channels)
        if places is None:
            folder = next(iter(files.values())).parent
            missing = [channel for channel in task.channels if match_channels(tuple(files), (channel,)) is None]
            words = f"lacks {', '.join(missing)}, which the model needs; it has {', '.join(files)}"
            found.failures.append(Failure(case, f"{folder}: {words}"))
        else:
            images = tuple(files.values())
            found.cases.append(Case(id=case, images=tuple(images[place] for place in places)))
    return found


def _failure(path: Path, fault: DataError) -> Failure:
    """A case that cannot be listed."""
    return Failure(fault.case or path.name, str(fault))


def _refuse_same_id(cases: Iterable[Case]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        if case.id in seen:
            raise ConfigError(
                f"inputs: {seen[case.id].images[0]} and {case.images[0]} both give the case {case.id!r}, and would "
                "have the same output; predict them into different folders"
            )
        seen[case.id] = case
