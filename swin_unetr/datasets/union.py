"""Several data sets as one: structures are matched by name, and each label file keeps the meaning of its values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.channels import match_channels
from swin_unetr.datasets.side_files import plain
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.tasks import Target, Task
from swin_unetr.words import count

#: One data set, or several that train one model.
Folders = Path | str | Sequence[Path | str]
#: Names that structures without a name are given: such names are equal by chance.
_NAMELESS = re.compile(r"(label|class|structure|segment|roi)?[\W_]*\d+", re.IGNORECASE)
#: Names of two data sets that are as similar as this may mean the same.
_SIMILAR = 0.85
#: Layout of data sets of different layouts: each is recognised by itself.
_SEVERAL = "auto"


def join(datasets: Sequence[Dataset]) -> Dataset:
    """One data set of several.

    Its task has the structures of all, those of the first with the label values that they have there. A structure that
    a data set does not name was not looked for in its cases. Scans of one id, or of one patient by name, in two data
    sets stay in one fold; the name of the data set is put before an id that two have.

    Args:
        datasets: with their tasks; their cases name structures as these tasks do.

    Raises:
        DataError: their channels, modalities or kinds of structures do not go together.
    """
    tasks = [(dataset.root, dataset.task) for dataset in datasets if dataset.task is not None]
    task = joint_task(tasks)
    names = _names([dataset.root for dataset in datasets])
    ids = Counter(case.id for dataset in datasets for case in dataset.cases)
    cases: list[Case] = []
    for name, dataset, (root, own) in zip(names, datasets, tasks, strict=True):
        renamed = _renamed(own, task)
        label_table(renamed, task, root)  # refuses what cannot be mapped before a file is read
        spelling = dict(zip((of.name for of in own.targets), (of.name for of in renamed.targets), strict=True))
        for case in dataset.cases:
            known = spelling if case.labelled is None else case.labelled
            labelled = frozenset(spelling[of] for of in known)
            twice = ids[case.id] > 1
            cases.append(
                replace(
                    case,
                    id=f"{name}_{case.id}" if twice else case.id,
                    group=case.group or (case.id if twice else None),
                    labelled=None if len(labelled) == len(task.targets) else labelled,
                    task=renamed,
                )
            )
    layouts = {dataset.layout for dataset in datasets}
    return Dataset(
        root=datasets[0].root.parent / "+".join(names),
        layout=layouts.pop() if len(layouts) == 1 else _SEVERAL,
        cases=_sorted(cases, task),
        task=task,
        parts=tuple(dataset.root for dataset in datasets),
        patients_by_names=any(dataset.patients_by_names for dataset in datasets),
        notes=(
            *(note for dataset in datasets for note in dataset.notes),
            *_notes(datasets, ids),
            *_similar(list(zip(names, (own for _, own in tasks), strict=True))),
        ),
    ).with_counted_channels()


def joint_task(tasks: Sequence[tuple[Path, Task]]) -> Task:
    """A task with the structures of several.

    Args:
        tasks: each with the folder of its data set, for messages.

    Raises:
        DataError: their channels, modalities or kinds of structures do not go together.
    """
    (first_root, first), *others = tasks
    for root, task in tasks:
        if nameless := [target.name for target in task.targets if _NAMELESS.fullmatch(target.name)]:
            raise DataError(
                f"{root}: nothing names what {', '.join(nameless)} is, and data sets are joined by the names of their "
                "structures; name them in a task.yaml"
            )
        if twice := [name for name, number in Counter(map(_key, task.targets)).items() if number > 1]:
            raise DataError(f"{root}: two structures are called {twice[0]!r} but for spelling; rename one to join it")
    targets, known = list(first.targets), set(first.known_labels)
    named = {_key(target) for target in targets}
    ignored = first.ignore_label
    for root, task in others:
        _refuse_another_kind(first_root, first, root, task)
        new = [target for target in task.targets if _key(target) not in named]
        if new and first.activation == "sigmoid":
            raise DataError(
                f"{root}: regions that may overlap can be joined only if the first data set names all of them; "
                f"{first_root} does not name {', '.join(target.name for target in new)}; name the other one first"
            )
        for target in new:
            value = _free(target.write_as, known)
            targets.append(Target(name=target.name, labels=(value,), write_as=value))
            named.add(_key(target))
        if ignored is None and task.ignore_label is not None:
            ignored = _free(task.ignore_label, known)
    name = "+".join(dict.fromkeys(task.name for _, task in tasks))
    return replace(first, name=name, targets=tuple(targets), ignore_label=ignored, pairs=_joint_pairs(tasks, targets))


def _joint_pairs(tasks: Sequence[tuple[Path, Task]], targets: Sequence[Target]) -> tuple[tuple[str, str], ...]:
    """The pairs of all tasks, each once, by the names of the joint task.

    Raises:
        DataError: a structure has different partners.
    """
    names = {_key(target): target.name for target in targets}
    partners: dict[str, str] = {}
    pairs = []
    for root, task in tasks:
        keys = {target.name: _key(target) for target in task.targets}
        for one, other in ((names[keys[one]], names[keys[other]]) for one, other in task.pairs):
            if partners.get(one, other) != other or partners.get(other, one) != one:
                raise DataError(f"{root}: pairs {one} with {other}, another data set pairs one of them otherwise")
            if one not in partners:
                pairs.append((one, other))
            partners |= {one: other, other: one}
    return tuple(pairs)


def label_table(own: Task, joint: Task, source: Path | None = None) -> dict[int, int]:
    """The value in the joint task of every value that a label file may hold.

    Args:
        own: of the label file; its structures have the names of the joint task.
        joint: the task of all data sets.
        source: of the label file, for messages.

    Raises:
        DataError: a value lies in regions in which no value of the joint task lies.
    """
    held = {_regions(joint, value): value for value in sorted(joint.known_labels - {joint.ignore_label}, reverse=True)}
    held |= {frozenset({target.name}): target.write_as for target in joint.targets if joint.activation == "softmax"}
    table = {}
    for value in own.known_labels:
        regions = _regions(own, value)
        if value == own.ignore_label:
            table[value] = joint.ignore_label or 0
        elif not regions:
            table[value] = 0
        elif regions == _regions(joint, value):
            table[value] = value
        elif regions in held:
            table[value] = held[regions]
        else:
            raise DataError(
                f"{source or own.name}: label value {value} lies in {', '.join(sorted(regions))} alone, as no value of "
                f"task {joint.name!r} does; join data sets whose regions overlap alike"
            )
    return table


def _regions(task: Task, value: int) -> frozenset[str]:
    return frozenset(target.name for target in task.targets if value in target.labels)


def _key(target: Target) -> str:
    """What names of one structure have in common, however written."""
    return plain(target.name) or target.name.lower()


def _renamed(own: Task, joint: Task) -> Task:
    """What label values mean, with the names of the joint task."""
    names = {_key(target): target.name for target in joint.targets}
    return Task(
        name=own.name,
        modality=own.modality,
        channels=own.channels,
        targets=tuple(replace(target, name=names[_key(target)]) for target in own.targets),
        activation=own.activation,
        other_labels=own.other_labels,
        ignore_label=own.ignore_label,
    )


def _free(wanted: int, known: set[int]) -> int:
    """A label value that nothing has yet, if possible the wanted one; it is then known."""
    value = wanted if wanted not in known else max(known) + 1
    known.add(value)
    return value


def _refuse_another_kind(first_root: Path, first: Task, root: Path, task: Task) -> None:
    if match_channels(task.channels, first.channels) != tuple(range(len(first.channels))) or len(task.channels) != len(
        first.channels
    ):
        raise DataError(
            f"{root}: has the channels {', '.join(task.channels)}, and {first_root} {', '.join(first.channels)}; data "
            "sets are joined if their channels are the same, in one order"
        )
    if task.modality != first.modality:
        raise DataError(f"{root}: is {task.modality}, and {first_root} is {first.modality}; join scans of one modality")
    if task.activation != first.activation:
        raise DataError(
            f"{root}: its structures are {_KINDS[task.activation]}, and those of {first_root} "
            f"{_KINDS[first.activation]}; describe both alike in a task.yaml"
        )


_KINDS = {"softmax": "exclusive", "sigmoid": "regions that may overlap"}


def _names(roots: Sequence[Path]) -> list[str]:
    """A short name for every data set, each another one."""
    names = [root.resolve().name for root in roots]
    return [name if names.count(name) == 1 else f"{name}{number}" for number, name in enumerate(names, 1)]


def _sorted(cases: Sequence[Case], task: Task) -> tuple[Case, ...]:
    ids = Counter(case.id for case in cases)
    if twice := [name for name, number in ids.items() if number > 1]:
        raise DataError(f"{task.name}: two cases have the id {twice[0]!r}; rename one of them, or its data set")
    return tuple(sorted(cases, key=lambda case: case.id))


def _notes(datasets: Sequence[Dataset], ids: Counter[str]) -> list[str]:
    """What was assumed of ids and patients that two data sets have."""
    notes = []
    if twice := sorted(name for name, number in ids.items() if number > 1):
        notes.append(
            f"{count(len(twice), 'id')} {'is' if len(twice) == 1 else 'are'} in several data sets, whose name is put "
            f"before; such scans stay in one fold: {listed_with_nearest(twice, ())}"
        )
    patients = Counter(patient for dataset in datasets for patient in set(dataset.groups.values()))
    if shared := sorted(patient for patient, number in patients.items() if number > 1):
        notes.append(
            f"{count(len(shared), 'patient')} {'is' if len(shared) == 1 else 'are'} in several data sets by name; "
            f"their scans stay in one fold: {listed_with_nearest(shared, ())}"
        )
    return notes


def _similar(tasks: Sequence[tuple[str, Task]]) -> Iterator[str]:
    """Structures of two data sets whose names are nearly the same, which were not matched."""
    for (one, first), (two, second) in combinations(tasks, 2):
        ours, theirs = ({_key(target): target.name for target in task.targets} for task in (first, second))
        for key in ours.keys() - theirs.keys():
            for other in theirs.keys() - ours.keys():
                if _words(ours[key]) == _words(theirs[other]) or SequenceMatcher(None, key, other).ratio() > _SIMILAR:
                    yield (
                        f"warning: {ours[key]} of {one} and {theirs[other]} of {two} count as different structures; if "
                        "they are the same, give them one name"
                    )


def _words(name: str) -> list[str]:
    return sorted(re.findall(r"[^\W\d_]+|\d+", name.lower()))


def read_parts(data: Folders, layout: str, task: Task | None = None) -> list[Dataset]:
    """The labelled data sets that are named, each by itself.

    Args:
        data: folder of scans and labels, or several.
        layout: of each of them.
        task: what the labels of a single data set mean, where it does not say.

    Raises:
        ConfigError: a folder twice, or a task for several data sets.
        DataError: a folder that cannot be used.
    """
    folders = folders_of(data)
    if len(folders) > 1 and task is not None:
        raise ConfigError("task: is of one data set; to join several, put a task.yaml into the folder of each")
    return [read_dataset(folder, layout=layout, require_labels=True, task=task) for folder in folders]


def folders_of(data: Folders) -> list[Path]:
    """The folders that are named.

    Raises:
        ConfigError: none, or one of them twice.
    """
    folders = [Path(data)] if isinstance(data, str | Path) else [Path(folder) for folder in data]
    if not folders:
        raise ConfigError("data: name at least one folder")
    places = [folder.resolve() for folder in folders]
    if twice := [folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1]:
        raise ConfigError(f"data: {twice[0]} is named twice; name each data set once")
    return folders
