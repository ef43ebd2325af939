"""Which structures were looked for in a case, by the tables beside the scans.

The list of the cases itself may say it, and so may `cases.csv`, `cases.json` and `patients.csv` in the folder of a data
set, in any layout. Two that contradict each other are an error. A case of which none of them says anything follows the
rule of `task.yaml` (`Dataset.absent`), for which `transforms.infer_task` reads the label files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.faults import LabelledError, fault_of_case
from swin_unetr.datasets.side_files import (
    CASE,
    FILE,
    IMAGE,
    has_column,
    known_id,
    plain,
    read_json,
    read_table,
    refuse_strangers,
    value_of,
)
from swin_unetr.errors import DataError
from swin_unetr.files import write_json
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.tasks import Task
from swin_unetr.words import count

#: Names that the column, or the key of an entry, has, as `plain` gives them.
LABELLED = ("labelled", "labeled", "labelledstructures", "labeledstructures", "lookedfor")
#: Tables in the folder of a data set that may have it.
TABLES = ("cases.csv", "cases.json", "patients.csv")
#: The one of them that is written here.
_WRITTEN = TABLES[1]
#: Instead of names: every structure of the task was looked for.
_EVERY = "all"
_ENTRIES = "cases"


def with_labelled(
    dataset: Dataset, folder: Path, others: Callable[[], Collection[str]], *, is_part: bool = False
) -> Dataset:
    """A data set whose cases know which structures were looked for, as far as a table says it.

    Args:
        dataset: as read from its layout; with its task, names are checked at once (`with_known_structures`).
        folder: where the tables lie.
        others: gives the ids of cases that are not listed now but may have a row, such as test cases.
        is_part: whether the data set is one of several lists in the folder; then a table may name the cases of all.

    Raises:
        LabelledError: a table is damaged, contradicts itself or another one, or names a case that is not there or a
            structure that the task does not have.
    """
    ids = {case.id for case in dataset.cases}
    own = {case.id: case.labelled for case in dataset.cases if case.labelled is not None}
    tables = [(dataset.root, own)]
    for path in tables_in(folder, is_list=dataset.layout == "list"):
        found = read_labelled(path, ids)
        refuse_strangers(path, found, ids, others, is_part=is_part, error=LabelledError)
        tables.append((path, found))
    said = agreed(tables, dataset.task)
    cases = tuple(replace(case, labelled=said[case.id][1]) if case.id in said else case for case in dataset.cases)
    dataset = replace(dataset, cases=cases)
    sources = {case: source for case, (source, _) in said.items()}
    return dataset if dataset.task is None else with_known_structures(dataset, dataset.task, sources)


def agreed(
    tables: Iterable[tuple[Path, Mapping[str, frozenset[str]]]], task: Task | None
) -> dict[str, tuple[Path, frozenset[str]]]:
    """What several tables say together: for each case the first one that speaks of it, and its names.

    Args:
        tables: each with what it says by case, as `read_labelled` gives it.
        task: has the structures. If None, "all" agrees with itself alone.

    Raises:
        LabelledError: two say different things of a case.
    """
    said: dict[str, tuple[Path, frozenset[str]]] = {}
    for path, found in tables:
        for case, names in found.items():
            source, before = said.setdefault(case, (path, names))
            if _meant(before, task) != _meant(names, task):
                raise LabelledError(
                    f"{path}: of {case} it says that {_listed(names)} was looked for, and {source} says "
                    f"{_listed(before)}; correct one of them"
                )
    return said


def _meant(names: Iterable[str], task: Task | None = None) -> set[str]:
    """Names in one spelling; "all" is every structure of the task."""
    meant = {plain(name) for name in names}
    own = set() if task is None else {plain(target.name) for target in task.targets}
    return (meant - {_EVERY}) | own if own and _EVERY in meant and _EVERY not in own else meant


def with_known_structures(dataset: Dataset, task: Task, sources: Mapping[str, Path] | None = None) -> Dataset:
    """The same data set, in which the structures that were looked for have the names of the task.

    Args:
        dataset: its cases name structures as their tables do; those that do so already are left as they are.
        task: has the structures.
        sources: the table that speaks of a case, for messages. If None, the folder of the data set.

    Raises:
        LabelledError: a case names a structure that the task does not have; within `faults.noting` it is noted, and
            the case says nothing.
    """

    def settled(case: Case) -> Case:
        if case.labelled is None:
            return case
        source = (sources or {}).get(case.id, dataset.root)
        try:
            return replace(case, labelled=known_structures(case.labelled, task, f"{source}: {case.id}"))
        except LabelledError as error:
            fault_of_case(case.id, error)
            return replace(case, labelled=None)

    return replace(dataset, cases=tuple(map(settled, dataset.cases)))


def known_structures(names: Iterable[str], task: Task, where: str) -> frozenset[str]:
    """Structures of a task, by names that may be spelt otherwise, or "all".

    Raises:
        LabelledError: a name that no structure has, or that two could have.
    """
    own = [target.name for target in task.targets]
    found: set[str] = set()
    unknown = []
    for name in sorted(names):
        same = [other for other in own if other == name] or [other for other in own if plain(other) == plain(name)]
        if len(same) == 1:
            found.update(same)
        elif plain(name) == _EVERY:
            found.update(own)
        else:
            unknown.append(name)
    if unknown:
        raise LabelledError(
            f"{where}: says that {count(len(unknown), 'structure')} was looked for that task {task.name!r} does not "
            f"have: {listed_with_nearest(unknown, own)}; it has {', '.join(own)}; separate several names by ';'"
        )
    return frozenset(found)


def looked_for(case: Case, task: Task) -> tuple[bool, ...]:
    """For each structure of a task whether it was looked for in a case."""
    return tuple(case.labelled is None or target.name in case.labelled for target in task.targets)


def partly_labelled(cases: Iterable[Case], task: Task) -> dict[str, tuple[str, ...]]:
    """What was looked for, in the task's order, by case: of the cases in which that is not everything."""
    return {
        case.id: tuple(target.name for target in task.targets if target.name in case.labelled)
        for case in cases
        if case.labelled is not None and not all(looked_for(case, task))
    }


def tables_in(folder: Path, *, is_list: bool = False) -> list[Path]:
    """The tables of a folder that say what was looked for.

    Args:
        folder: of a data set, or of label files.
        is_list: whether the data set is a list of cases: what such lists say has been read with them.
    """
    paths = [folder / name for name in TABLES]
    return [path for path in paths if path.is_file() and (is_side_table(path) if is_list else _keys(path)[0])]


def is_side_table(path: Path) -> bool:
    """Whether a table says what was looked for in cases whose images it does not list."""
    says, images = _keys(path)
    return says and not images


def read_labelled(path: Path, ids: Collection[str]) -> dict[str, frozenset[str]]:
    """Structures that were looked for by case, as the table writes them; an id that fits no case stays as it is.

    Args:
        path: of the table.
        ids: of the cases that are there.

    Raises:
        LabelledError: an entry without a case or with something else than names, or a case with two different ones.
    """
    found: dict[str, frozenset[str]] = {}
    for where, named, value in _entries(path):
        if named is None:
            raise LabelledError(f"{path}: {where} names no case; fill it in, or take it out")
        names = names_in(value, f"{path}: {where}")
        if names is None:
            continue
        case = known_id(str(named), ids)
        if _meant(found.setdefault(case, names)) != _meant(names):
            raise LabelledError(
                f"{path}: says twice what was looked for in {case}: {_listed(found[case])} and {_listed(names)}; keep "
                "one of them"
            )
    return found


def names_in(value: Any, where: str) -> frozenset[str] | None:
    """Names in a cell, separated by ";" or "|", or in a list of a JSON file. None if the cell is empty.

    Raises:
        LabelledError: it is something else.
    """
    if value is None:
        return None
    listed = re.split(r"[;|]", value) if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise LabelledError(
            f"{where}: should list the names of the structures that were looked for, or say {_EVERY!r}; it holds "
            f"{json.dumps(value)[:60]}"
        )
    names = frozenset(name.strip() for name in listed if name.strip())
    return names if names or isinstance(value, list) else None


def _keys(path: Path) -> tuple[bool, bool]:
    """Whether a table says what was looked for, and whether it lists images."""
    try:
        if path.suffix.lower() == ".json":
            listed = _listed_in(read_json(path))
            if isinstance(listed, Mapping):
                return True, False
            keys = {str(key) for entry in listed if isinstance(entry, Mapping) for key in entry}
        else:
            keys = set(read_table(path)[0])
    except DataError:
        return False, True  # whoever reads the list says what is wrong with it
    return has_column(keys, LABELLED), any(IMAGE.fullmatch(key.strip()) for key in keys)


def _listed_in(values: Any) -> Mapping[str, Any] | list[Any]:
    """The entries of a JSON file; a mapping is by case."""
    if not isinstance(values, Mapping):
        return values if isinstance(values, list) else []
    by_case, listed = value_of(values, LABELLED), values.get(_ENTRIES)
    if isinstance(by_case, Mapping):
        return by_case
    return listed if isinstance(listed, list) else []


def _entries(path: Path) -> Iterator[tuple[str, Any, Any]]:
    """Place in the file, name of the case, and what was looked for in it, for every entry."""
    names = (*CASE, *FILE)
    if path.suffix.lower() != ".json":
        for row in read_table(path)[1]:
            yield f"row {row.number}", value_of(row.cells, names), value_of(row.cells, LABELLED)
        return
    listed = _listed_in(read_json(path))
    if isinstance(listed, Mapping):
        yield from ((f"entry {case!r}", case, value) for case, value in listed.items())
        return
    for number, entry in enumerate(listed, 1):
        if isinstance(entry, Mapping):
            yield f"entry {number}", value_of(entry, names), value_of(entry, LABELLED)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def write_labelled(folder: Path, cases: Iterable[Case]) -> None:
    """Write a `cases.json` that `with_labelled` reads, if a case says which structures were looked for in it."""
    by_case = {case.id: sorted(case.labelled) for case in cases if case.labelled is not None}
    if by_case:
        write_json(folder / _WRITTEN, {LABELLED[0]: by_case})
