"""From the values of a label file to the network's output channels, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.datasets.union import label_table
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task
from transforms.unknown_labels import UnknownLabelsError

#: A region is where its probability exceeds this (BraTS 2021, reference.md).
REGION_THRESHOLD = 0.5
#: What encoded targets of type uint8 hold, in every channel, at voxels with the task's `ignore_label`; for any type see
#: `ignored_value`.
IGNORED = 255
#: How many exclusive classes have an index in the widest type of encoded targets, which also holds the ignored value.
MOST_CLASSES = 32766


def check_labels(values: Iterable[int], task: Task, path: Path) -> None:
    """Refuse a label map with values that the task does not know.

    Raises:
        UnknownLabelsError: names the file, the values, and how to say what they mean.
    """
    if unknown := {int(value) for value in values} - task.known_labels:
        raise UnknownLabelsError(path, unknown, task)


def target_type(task: Task) -> torch.dtype:
    """The type of encoded targets: uint8, or int16 if 255 is the index of a class.

    Raises:
        ConfigError: more exclusive classes than int16 can hold.
    """
    if task.activation == "sigmoid" or len(task.targets) < IGNORED:
        return torch.uint8
    if len(task.targets) > MOST_CLASSES:
        raise ConfigError(
            f"task {task.name!r}: has {len(task.targets):,} structures; at most {MOST_CLASSES:,} can be trained"
        )
    return torch.int16


def ignored_value(targets: Tensor | NDArray[Any]) -> int:
    """What encoded targets hold, in every channel, at voxels with the task's `ignore_label`: the value of no class."""
    if isinstance(targets, Tensor):
        return int(torch.iinfo(targets.dtype).max)
    return int(np.iinfo(targets.dtype).max)


def encode_targets(labels: Tensor, task: Task) -> Tensor:
    """Encode label values as the targets of the loss.

    Args:
        labels: 1 x X x Y x Z label values, all known to the task.
        task: what the values mean.

    Returns:
        `target_type`. Softmax: 1 x X x Y x Z class indices, 0 for background. Sigmoid: regions x X x Y x Z, 0 or 1.
        `ignored_value` in every channel at voxels with the task's `ignore_label`.
    """
    if task.activation == "sigmoid":
        regions = torch.cat([_member(labels, target.labels) for target in task.targets]).to(torch.uint8)
        return regions if task.ignore_label is None else regions.masked_fill_(labels == task.ignore_label, IGNORED)
    table = torch.zeros(max(task.known_labels) + 1, dtype=target_type(task))
    for index, target in enumerate(task.targets, 1):
        table[list(target.labels)] = index
    if task.ignore_label is not None:
        table[task.ignore_label] = ignored_value(table)
    return table[labels.long()]


def relabelled(labels: NDArray[Any], own: Task, joint: Task) -> NDArray[np.int32]:
    """Label values of a joint task, from those of one of its data sets (`datasets.union`).

    Args:
        labels: values that `own` knows, of any shape.
        own: what they mean; its structures have the names of the joint task.
        joint: the task of all data sets.
    """
    table = np.zeros(max(own.known_labels) + 1, np.int32)
    for value, other in label_table(own, joint).items():
        table[value] = other
    return table[labels.astype(np.intp)]


def encoding_key(task: Task) -> dict[str, Any]:
    """Everything that encoded targets depend on besides the values in a label file, and which values are refused.

    Names of structures and the values that a prediction writes are not in it.
    """
    return {
        "activation": task.activation,
        "targets": [sorted(target.labels) for target in task.targets],
        "known": sorted(task.known_labels),
        "ignored": task.ignore_label,
    }


def decode_activations(scores: Tensor, task: Task) -> Tensor:
    """Activated outputs of the network to label values.

    Args:
        scores: channels x X x Y x Z probabilities; for softmax any scores of the same order will do.
        task: what the channels mean.

    Returns:
        X x Y x Z int64. Regions are painted outer before inner, so that nested regions come out nested.
    """
    return decode_one_by_one(scores.__getitem__, task, scores.shape[1:]).long()


def decode_one_by_one(channel: Callable[[int], Tensor], task: Task, shape: Sequence[int]) -> Tensor:
    """As `decode_activations`, with a single channel in memory at a time.

    Args:
        channel: gives a channel by its index, X x Y x Z; each is asked for once. Of equal classes the first wins.
        task: what the channels mean.
        shape: of a channel.

    Returns:
        X x Y x Z on the CPU, uint8 if the values fit, else int32.
    """
    exclusive = task.activation == "softmax"
    order = range(len(task.targets)) if exclusive else task.painting_order
    bar = channel(0).cpu() if exclusive else torch.tensor(REGION_THRESHOLD)  # what a voxel must exceed to be painted
    fits = max(task.known_labels) <= torch.iinfo(torch.uint8).max
    labels = torch.zeros(tuple(shape), dtype=torch.uint8 if fits else torch.int32)
    for index in order:
        scores = channel(index + int(exclusive)).cpu()
        labels[scores > bar] = task.targets[index].write_as
        if exclusive:
            bar = torch.maximum(bar, scores)
    return labels


def label_names(task: Task) -> dict[int, str]:
    """Names of the written label values, for the header of a prediction; nested regions are joined, inner first."""
    inner_first = [task.targets[index] for index in reversed(task.painting_order)]
    values = sorted(target.write_as for target in task.targets)
    return {value: "+".join(target.name for target in inner_first if value in target.labels) for value in values}


def _member(labels: Tensor, values: tuple[int, ...]) -> Tensor:
    return torch.isin(labels, torch.as_tensor(np.array(values), dtype=labels.dtype))
