"""What label values become in a layout, and how its description names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from swin_unetr.config_io import to_dict
from swin_unetr.datasets import DESCRIPTION
from swin_unetr.datasets.decathlon import DESCRIPTION as DATASET_JSON
from swin_unetr.datasets.decathlon import IGNORE, decathlon_task
from swin_unetr.files import write_text
from swin_unetr.tasks import Target, Task


def new_values(task: Task, to: str) -> dict[int, int]:
    """New label values by old ones in a layout that cannot say what the old ones mean; empty if they stay.

    nnU-Net and the Decathlon know one value of an exclusive class: values of one structure are merged into one. nnU-Net
    also demands consecutive values, the ignored one last (its documentation/dataset_format.md and ignore_label.md). A
    plain folder has a `task.yaml`, which can say everything.
    """
    if to == "plain":
        return {}
    merged = _merged(task)
    numbers = _consecutive(task, merged) if to == "nnunet" else {value: value for value in merged.values()}
    mapping = {old: numbers[new] for old, new in merged.items()}
    return mapping if any(old != new for old, new in mapping.items()) else {}


def _merged(task: Task) -> dict[int, int]:
    """For each value the one that its structure is written as; regions, which share values, keep theirs."""
    values = {value: value for value in task.known_labels - {0}}
    if task.activation == "softmax":
        values |= {value: target.write_as for target in task.targets for value in target.labels}
    return values


def _consecutive(task: Task, merged: Mapping[int, int]) -> dict[int, int]:
    """1, 2, ... for each merged value, in the order of the smallest of its old values; the ignored one last."""
    values = dict.fromkeys(merged[old] for old in sorted(merged) if old != task.ignore_label)
    if task.ignore_label is not None:
        values[task.ignore_label] = None
    return {value: number for number, value in enumerate(values, 1)}


def renumbered(task: Task, mapping: Mapping[int, int]) -> Task:
    """The task with other label values; as it is for an empty mapping."""
    if not mapping:
        return task
    return replace(
        task,
        targets=tuple(
            Target(
                name=target.name,
                labels=tuple(dict.fromkeys(mapping[value] for value in target.labels)),
                write_as=mapping[target.write_as],
            )
            for target in task.targets
        ),
        other_labels=tuple(mapping[value] for value in task.other_labels),
        ignore_label=None if task.ignore_label is None else mapping[task.ignore_label],
    )


def decathlon_labels(task: Task) -> dict[str, str]:
    """Name by value, as in the Decathlon, which has only exclusive classes; for regions, the names of all that hold it.

    Args:
        task: whose exclusive classes have one value each (`new_values`).
    """
    named = {value: "+".join(_names_of(task, value)) for value in sorted(task.known_labels - {0})}
    twice = {name for name in named.values() if list(named.values()).count(name) > 1}
    named = {value: f"{name} ({value})" if name in twice else name for value, name in named.items()}
    return {"0": "background", **{str(value): name for value, name in named.items()}}


def nnunet_labels(task: Task) -> dict[str, Any]:
    """The fields `labels` and, for regions, `regions_class_order` of nnU-Net's description.

    Regions come in the order in which they are painted, outer ones first.

    Args:
        task: whose exclusive classes have one value each (`new_values`).
    """
    labels: dict[str, Any] = {"background": 0}
    painted = [task.targets[index] for index in task.painting_order] if task.activation == "sigmoid" else task.targets
    for target in painted:
        labels[target.name] = list(target.labels) if task.activation == "sigmoid" else target.write_as
    order = [target.write_as for target in painted]
    for value in task.other_labels:
        labels[f"other {value}"] = [value] if task.activation == "sigmoid" else value
        order.append(value)
    if task.ignore_label is not None:
        labels[IGNORE] = task.ignore_label
    return {"labels": labels, **({"regions_class_order": order} if task.activation == "sigmoid" else {})}


def nnunet_channels(task: Task) -> dict[str, str]:
    """`channel_names`; a single CT channel gets nnU-Net's own name for CT."""
    names = ("CT",) if task.modality == "CT" and len(task.channels) == 1 else task.channels
    return {str(number): name for number, name in enumerate(names)}


def describe(folder: Path, task: Task, values: Mapping[str, Any] | None) -> None:
    """Write a `task.yaml` if the layout's own description does not say all of the task.

    Args:
        folder: of the data set.
        task: that is to be read back.
        values: of the `dataset.json`. If None, the layout has no such file.
    """
    if values is None or decathlon_task(values, folder / DATASET_JSON) != task:
        write_text(folder / DESCRIPTION, yaml.safe_dump(to_dict(task), sort_keys=False, allow_unicode=True))


def _names_of(task: Task, value: int) -> list[str]:
    """Names of the targets that hold a value, inner regions first."""
    inner_first = [task.targets[index] for index in reversed(task.painting_order)]
    if value == task.ignore_label:
        return [IGNORE]
    return [target.name for target in inner_first if value in target.labels] or [f"other {value}"]
