"""What only the voxels of the label files show about a data set's task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from swin_unetr.datasets import DESCRIPTION
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.labelled import with_known_structures
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import BRATS_CONVENTIONS, Modality, Target, Task, brats, brats_convention, modality_of
from transforms.io import read_label_names, read_labels

#: How many cases with enhancing tumour decide the convention: in a single case, a 4 without a 3 may still be 2013.
#: Every case is checked against the convention again when it is loaded.
_ENOUGH = 10


def label_values(case: Case) -> tuple[int, ...]:
    """Values in the label file of a case; empty if it has no file."""
    if case.label is None:
        return ()
    array = read_labels(case.label).array
    if array.dtype.itemsize > 2:
        return tuple(int(value) for value in np.unique(array))
    return tuple(int(value) for value in np.flatnonzero(np.bincount(array.ravel(order="K"))))  # sorts nothing: faster


def settle_task(
    dataset: Dataset, modality: Modality | None = None, values_of: Callable[[Case], Iterable[int]] = label_values
) -> Task:
    """The task of a labelled data set, completed from its label files where its layout leaves a question open.

    BraTS: which year's label values (enhancing is 4 until 2021, 3 from 2023; both occur in 2013). A plain folder
    without a description: every value that occurs becomes a structure, under the name that the label files give it.

    Args:
        dataset: with labels.
        modality: of a plain folder without a description, unless the name of its first channel says CT.
        values_of: gives the values in a case's label file, if they are known already.

    Raises:
        DataError: a label file cannot be read, or holds values that no BraTS year has, or whose meaning is unknown: 4
            together with 3 from 2023 on.
        ConfigError: a plain folder without a description, and no modality given.
    """
    if dataset.layout == "brats" and dataset.task is not None and dataset.task.name in BRATS_CONVENTIONS:
        return brats(_convention(dataset.cases, dataset.task.name, values_of), dataset.task.channels)
    if dataset.task is not None:
        return dataset.task
    if modality_of(dataset.channels) == "CT":
        modality = "CT"
    if modality is None:
        raise ConfigError(
            f"{dataset.root}: nothing says whether the scans are CT or MR; add a {DESCRIPTION} beside images/, "
            "or give --modality"
        )
    values = sorted({value for case in dataset.cases for value in values_of(case)} - {0})
    if not values:
        raise DataError(f"{dataset.root}: every label file is empty; there is nothing to learn")
    names = _names(dataset.cases)
    return Task(
        name=dataset.root.name,
        modality=modality,
        channels=dataset.channels or (modality,),
        targets=tuple(
            Target(name=names.get(value, f"label {value}"), labels=(value,), write_as=value) for value in values
        ),
    )


def settle_labelled(dataset: Dataset, task: Task, values_of: Callable[[Case], Iterable[int]] = label_values) -> Dataset:
    """A labelled data set whose cases know which structures were looked for, if that is not all of them.

    By the rule "not_looked_for" of a `task.yaml` these are the structures that a case's label file holds, for cases of
    which no table says more.

    Args:
        dataset: with labels.
        task: what their values mean.
        values_of: gives the values in a case's label file, if they are known already.

    Raises:
        DataError: a case names a structure that the task does not have, or a label file cannot be read.
    """
    dataset = with_known_structures(dataset, task)
    if dataset.absent != "not_looked_for":
        return dataset

    def settled(case: Case) -> Case:
        if case.labelled is not None or case.label is None:
            return case
        held = set(values_of(case))
        found = (target.name for target in task.targets if not held.isdisjoint(target.labels))
        return replace(case, labelled=frozenset(found))

    return replace(dataset, cases=tuple(map(settled, dataset.cases)))


def _names(cases: Iterable[Case]) -> dict[int, str]:
    """Names that label files give their values themselves, if all agree and no two values share one."""
    found: dict[int, set[str]] = {}
    for case in cases:
        try:
            given = {} if case.label is None else read_label_names(case.label)
        except DataError:
            continue  # others read its voxels and report the fault
        for value, name in given.items():
            found.setdefault(value, set()).add(name)
    agreed = {value: next(iter(names)) for value, names in found.items() if len(names) == 1}
    return {value: name for value, name in agreed.items() if name and list(agreed.values()).count(name) == 1}


def _convention(cases: Iterable[Case], suggested: str, values_of: Callable[[Case], Iterable[int]]) -> str:
    """The year's convention, from the first cases that have enhancing tumour."""
    seen: set[int] = set()
    enhancing = 0
    for case in cases:
        values = tuple(values_of(case))
        seen.update(values)
        try:
            convention = brats_convention(seen, fallback=suggested)
        except ValueError as error:
            raise DataError(f"{case.label}: {error}") from error
        if convention == "brats2013" and suggested == "brats2023":
            raise DataError(
                f"{case.label}: holds label value 4 beside 3 of other voxels or cases, as in 2024, when 4 became the "
                f"resection cavity (in children oedema); say what the values mean in a {DESCRIPTION} beside the cases"
            )
        enhancing += bool({3, 4} & set(values))
        if {3, 4} <= seen or enhancing == _ENOUGH:
            return convention
    return brats_convention(seen, fallback=suggested)
