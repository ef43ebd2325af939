"""The cases that the paths of a prediction mean: files, folders and data sets, for the channels of a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from swin_unetr.batch import Failure
from swin_unetr.datasets import Case, Dataset, find_layout, read_dataset
from swin_unetr.datasets.brats_layouts import brats_files
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import real_path
from swin_unetr.inference.record import PREDICTIONS_JSON, labels_path
from swin_unetr.tasks import Task

#: Folders by which a data set is told, where results may not go: its layout would be taken for another.
_OF_DATASETS = ("imagesTr", "labelsTr", "imagesTs")


@dataclass
class Inputs:
    """What was found under the paths."""

    cases: list[Case] = field(default_factory=list)
    #: Paths that hold no scan, and cases that lack a channel.
    failures: list[Failure] = field(default_factory=list)
    #: What each data set among the paths was taken for, for people; of a plain folder, what was left out.
    notes: list[str] = field(default_factory=list)


def find_inputs(paths: Iterable[Path], task: Task, *, layout: str, selected: Sequence[str] | None) -> Inputs:
    """List the cases.

    Args:
        paths: image files, folders of them, roots of data sets; a path given twice counts once.
        task: channels that a case needs; they are matched by name where the layout knows the names of its own.
        layout: of the folders, or "auto".
        selected: ids of the cases that are wanted; each that is not there is a failure. None wants all.

    Raises:
        ConfigError: no such layout, or two scans of the same id.
    """
    wanted = None if selected is None else set(selected)
    found = Inputs()
    for path in dict.fromkeys(path if path.name else path.resolve() for path in paths):
        try:
            listed = _list(path, task, layout)
            found.cases += [case for case in listed.cases if wanted is None or case.id in wanted]
            found.failures += [failure for failure in listed.failures if wanted is None or failure.case in wanted]
            found.notes += listed.notes
        except DataError as error:
            found.failures.append(Failure(path.name, str(error)))
    known = {case.id for case in found.cases} | {failure.case for failure in found.failures}
    for case in selected or ():
        if case not in known:
            found.failures.append(Failure(case, "no such case among the inputs; check its name"))
    _refuse_same_id(found.cases)
    return found


def check_output(output: Path, cases: Iterable[Case]) -> None:
    """Refuse the folder of a data set, and one in which a result would replace a file that `predict` did not write.

    Raises:
        ConfigError: names the folder or the file.
    """
    if any((output / name).is_dir() for name in _OF_DATASETS):
        raise ConfigError(f"output: {output} holds a data set, which results would mix with; name another folder")
    ours = (output / PREDICTIONS_JSON).is_file()
    sources = {real_path(path) for case in cases for path in case.images}
    for case in cases:
        result = labels_path(output, case.id)
        if result.exists() and (not ours or result.resolve() in sources):
            raise ConfigError(f"output: {result} was not written by predict and is kept; name another folder")


def _list(path: Path, task: Task, layout: str) -> Inputs:
    """The cases under one path, and those that lack a channel."""
    chosen = find_layout(path) if layout == "auto" else layout
    dataset = read_dataset(path, layout=chosen, require_labels=False) if chosen != "brats" else None
    if dataset is not None:
        notes = [*dataset.notes] if dataset.layout == "plain" else dataset.summary().splitlines()
        return Inputs(list(_of_channels(dataset, task.channels)), notes=notes)
    found = Inputs(notes=[f"{path}: layout brats"])
    for case, files in brats_files(path).items():
        if missing := [channel for channel in task.channels if channel not in files]:
            folder = next(iter(files.values())).parent
            words = f"lacks {', '.join(missing)}, which the model needs; it has {', '.join(files)}"
            found.failures.append(Failure(case, f"{folder}: {words}"))
        else:
            found.cases.append(Case(id=case, images=tuple(files[channel] for channel in task.channels)))
    return found


def _of_channels(dataset: Dataset, wanted: tuple[str, ...]) -> Iterator[Case]:
    """The cases with the channels that are wanted, in their order, where those of the data set have the same names."""
    known = dataset.channels or (dataset.task.channels if dataset.task else ())
    named = set(wanted) <= set(known)
    for case in dataset.cases:
        chosen = named and len(case.images) == len(known)
        yield replace(case, images=tuple(case.images[known.index(name)] for name in wanted)) if chosen else case


def _refuse_same_id(cases: Iterable[Case]) -> None:
    seen: dict[str, Case] = {}
    for case in cases:
        if case.id in seen:
            raise ConfigError(
                f"inputs: {seen[case.id].images[0]} and {case.images[0]} both give the case {case.id!r}, and would "
                "have the same output; predict them into different folders"
            )
        seen[case.id] = case
