"""Which structures were looked for in the reference of a case: the others are not evaluated there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from swin_unetr.datasets.case import Absent, Dataset
from swin_unetr.datasets.description import DESCRIPTION, read_description
from swin_unetr.datasets.labelled import agreed, known_structures, read_labelled, tables_in
from swin_unetr.datasets.side_files import plain
from swin_unetr.tasks import Task


@dataclass(frozen=True)
class Labelled:
    """What is said of the references, before it is known what their values mean."""

    #: Structures that were looked for by case, as they are written; a case that is not there says nothing.
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: What it means that a reference lacks a structure, for cases that say nothing.
    absent: Absent = "background"
    #: The task that the names are of. If None, they are of that of the evaluation.
    task: Task | None = None


@dataclass(frozen=True)
class LookedFor:
    """Which structures of an evaluation were looked for."""

    #: By case, for cases that say it.
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    absent: Absent = "background"

    def left_out(self, case: str, structures: Collection[str], held: Collection[str] | None = None) -> tuple[str, ...]:
        """The structures that were not looked for in a case, in their order.

        Args:
            case: its id.
            structures: those of the evaluation.
            held: those that the reference holds. If None, it could not be read.
        """
        if case in self.names:
            return tuple(name for name in structures if name not in self.names[case])
        if self.absent == "background" or held is None:
            return ()
        return tuple(name for name in structures if name not in held)


def of_dataset(dataset: Dataset) -> Labelled:
    """What a data set says of its cases."""
    names = {case.id: case.labelled for case in dataset.cases if case.labelled is not None}
    return Labelled(names, dataset.absent, dataset.task)


def beside_labels(folder: Path, cases: Collection[str]) -> Labelled:
    """What lies in a folder of label files, or in the one above it: tables, and the rule of a `task.yaml`.

    Rows of other cases do not matter: these may be any of a data set's label files.

    Args:
        folder: of the label files.
        cases: their ids.

    Raises:
        ConfigError: a `task.yaml` is wrong.
        LabelledError: a table is damaged, or two of them say different things of a case.
    """
    for place in (folder, folder.absolute().parent):
        task, absent = read_description(place / DESCRIPTION) if (place / DESCRIPTION).is_file() else (None, None)
        tables = [(table, read_labelled(table, cases)) for table in tables_in(place)]
        names = {case: of for case, (_, of) in agreed(tables, task).items()}
        if absent is not None:
            return Labelled(names, absent, task)
        if names:
            return Labelled(names)
    return Labelled()


def settle_looked_for(said: Labelled, task: Task, cases: Collection[str], source: Path) -> LookedFor:
    """What counts in an evaluation.

    Args:
        said: of the references.
        task: of the references, as they are evaluated.
        cases: those that are evaluated.
        source: of the references, for messages.

    Raises:
        LabelledError: a case names a structure that nobody knows.
    """
    own = said.task or task
    names = {case: known_structures(of, own, f"{source}: {case}") for case, of in said.names.items() if case in cases}
    spelt = {plain(target.name): target.name for target in task.targets}
    of_own = {target.name for target in own.targets}
    # A structure that the evaluation has under a name of its own, by --task or --labels, is evaluated everywhere.
    foreign = frozenset(target.name for target in task.targets) - {spelt.get(plain(name)) for name in of_own}
    counted = {case: {spelt[plain(name)] for name in of if plain(name) in spelt} for case, of in names.items()}
    return LookedFor({case: foreign | of for case, of in counted.items()}, said.absent)
