"""Surveys of several data sets as one, with the label values of their joint task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.labelled import partly_labelled
from swin_unetr.datasets.union import join, label_table
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.survey.facts import CaseFacts, LabelFacts, Survey, ValueFacts
from swin_unetr.survey.run import settled_by
from swin_unetr.tasks import Task
from transforms.labels import check_labels
from transforms.unknown_labels import problem_lines


def join_surveys(parts: Sequence[tuple[Dataset, Survey]]) -> Survey:
    """One survey of several data sets, as `datasets.union.join` joins these.

    Args:
        parts: each data set with its survey.

    Raises:
        ConfigError: nothing says what the labels of one of them mean.
        DataError: they do not go together, or label files hold values that their own task does not know.
    """
    described = []
    facts: dict[Path, CaseFacts] = {}
    for dataset, found in parts:
        if found.task is None:
            raise ConfigError(f"{dataset.root}: nothing says what the labels mean; describe them in a task.yaml")
        _refuse_unknown_labels(found, found.task)
        described.append(settled_by(dataset, found.task, found.cases))
        facts |= {case.images[0]: of for case, of in zip(dataset.cases, found.cases, strict=True)}
    joint = join(described)
    assert joint.task is not None  # `join` gives it one
    return Survey(
        root=joint.root,
        layout=joint.layout,
        task=joint.task,
        cases=tuple(_renamed(facts[case.images[0]], case, joint.task) for case in joint.cases),
        labelled=partly_labelled(joint.cases, joint.task),
        seconds=sum(found.seconds for _, found in parts),
    )


def _refuse_unknown_labels(found: Survey, task: Task) -> None:
    problems: list[DataError] = []
    for label in (case.label for case in found.cases if case.usable):
        try:
            if label is not None:
                check_labels((of.value for of in label.values), task, label.path)
        except DataError as error:
            problems.append(error)
    if problems:
        first = f"{len(problems)} of {len(found.cases)} label files cannot be trained on:"
        raise DataError("\n".join([first, *problem_lines(problems, task)]))


def _renamed(facts: CaseFacts, case: Case, joint: Task) -> CaseFacts:
    """The facts of a case under its id in the joint data set, with the joint task's label values."""
    label = facts.label
    if label is not None and case.task is not None:
        label = _mapped(label, label_table(case.task, joint))
    return replace(facts, id=case.id, group=case.group or case.id, label=label)


def _mapped(label: LabelFacts, table: dict[int, int]) -> LabelFacts:
    values: dict[int, ValueFacts] = {}
    for of in label.values:
        value = table.get(of.value, 0)
        if value:
            values[value] = replace(of, value=value) if value not in values else _together(values[value], of)
    return replace(label, values=tuple(values[value] for value in sorted(values)))


def _together(one: ValueFacts, other: ValueFacts) -> ValueFacts:
    """Two label values that mean one structure."""
    voxels = one.voxels + other.voxels
    x, y, z = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one.box, other.box, strict=True))
    r, a, s = (
        math.fsum((one.voxels * first, other.voxels * second)) / voxels
        for first, second in zip(one.centre_mm, other.centre_mm, strict=True)
    )
    volume = one.volume_mm3 + other.volume_mm3
    return replace(one, voxels=voxels, volume_mm3=volume, box=(x, y, z), centre_mm=(r, a, s))
