"""Which classes the cases have: by their label files for a split, by the prepared scans for a training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from swin_unetr.datasets.case import Case
from swin_unetr.datasets.labelled import looked_for
from swin_unetr.errors import DataError
from swin_unetr.machine import cores
from swin_unetr.store.filling import in_parallel
from swin_unetr.store.folder import Sources, source_key
from swin_unetr.tasks import Task
from swin_unetr.training.first_process import tell
from transforms.infer_task import label_values

#: In the folder of a store: the values of label files that were read before.
_REMEMBERED = "label_values.jsonl"


def values_of_cases(cases: Sequence[Case], store: Path | None = None) -> dict[str, frozenset[int]]:
    """The values in the label file of each case; an empty set if it cannot be read.

    Args:
        cases: with labels.
        store: folder in which the values of label files are remembered. If None, nothing is remembered.
    """
    remembered = None if store is None else Sources(store / _REMEMBERED)

    def values(case: Case) -> frozenset[int]:
        if case.label is None:
            return frozenset()
        try:
            key = source_key([case.label])
            known = None if remembered is None else remembered.get(key)
            if known is not None and isinstance(known.get("values"), list):
                return frozenset(known["values"])
            found = label_values(case)
        except DataError:
            return frozenset()  # what is wrong with scans is said when they are prepared, of all at once
        if remembered is not None:
            remembered.note(key, [case.label], {"values": list(found)})
        return frozenset(found)

    read = in_parallel(values, cases, min(8, cores()), tell, "reading labels")
    return {case.id: of for case, of in zip(cases, read, strict=True)}


def classes_of_cases(cases: Sequence[Case], task: Task, store: Path | None = None) -> dict[str, frozenset[int]]:
    """The targets that each case has, by their index in the task; an empty set if its label file cannot be read.

    A structure that was not looked for in a case is not one of them, whatever its label file holds.

    Args:
        cases: with labels.
        task: what the values mean, in label files that do not have a task of their own.
        store: folder in which the values of label files are remembered. If None, nothing is remembered.
    """
    values = values_of_cases(cases, store)
    return {case.id: _held(case, values[case.id], task) for case in cases}


def _held(case: Case, values: frozenset[int], task: Task) -> frozenset[int]:
    own = {target.name: target.labels for target in (case.task or task).targets}
    return frozenset(
        index
        for index, (target, is_looked_for) in enumerate(zip(task.targets, looked_for(case, task), strict=True))
        if is_looked_for and not values.isdisjoint(own.get(target.name, ()))
    )


def absent_classes(voxels: Iterable[Sequence[int]], task: Task) -> tuple[str, ...]:
    """Names of the targets that no scan has.

    Args:
        voxels: of each scan, those of background and of each target (`FinetuneData.training_voxels`).
        task: the targets.
    """
    there = [0] * len(task.targets)
    for of in voxels:
        there = [before + count for before, count in zip(there, of[1:], strict=True)]
    return tuple(target.name for target, count in zip(task.targets, there, strict=True) if count == 0)
