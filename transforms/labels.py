"""Between the values of a label file and the network's output channels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from swin_unetr.errors import DataError
from swin_unetr.tasks import Task

#: A region is where its probability exceeds this (BraTS 2021, reference.md).
REGION_THRESHOLD = 0.5


def check_labels(values: Iterable[int], task: Task, path: Path) -> None:
    """Refuse a label map with values that the task does not know.

    Raises:
        DataError: names the file and the values.
    """
    if unknown := sorted({int(value) for value in values} - task.known_labels):
        known = ", ".join(map(str, sorted(task.known_labels)))
        raise DataError(f"{path}: holds label values {unknown} that task {task.name!r} does not know (it has {known})")


def encode_targets(labels: Tensor, task: Task) -> Tensor:
    """Label values to what the loss compares with.

    Args:
        labels: 1 x X x Y x Z label values, all known to the task.
        task: what the values mean.

    Returns:
        uint8. Softmax: 1 x X x Y x Z class indices, 0 for background. Sigmoid: regions x X x Y x Z, 0 or 1.
    """
    if task.activation == "sigmoid":
        return torch.cat([_member(labels, target.labels) for target in task.targets]).to(torch.uint8)
    table = torch.zeros(max(task.known_labels) + 1, dtype=torch.uint8)
    for index, target in enumerate(task.targets, 1):
        table[list(target.labels)] = index
    return table[labels.long()]


def decode_activations(scores: Tensor, task: Task) -> Tensor:
    """Activated outputs of the network to label values.

    Args:
        scores: channels x X x Y x Z probabilities; for softmax any scores of the same order will do.
        task: what the channels mean.

    Returns:
        X x Y x Z int64. Regions are painted outer before inner, so that nested regions come out nested.
    """
    if task.activation == "softmax":
        return class_values(task)[scores.argmax(0).cpu()]
    labels = torch.zeros(scores.shape[1:], dtype=torch.int64)
    for index in task.painting_order:
        labels[(scores[index] > REGION_THRESHOLD).cpu()] = task.targets[index].write_as
    return labels


def class_values(task: Task) -> Tensor:
    """Label value that each class index of a softmax task is written as; background first."""
    return torch.tensor([0, *(target.write_as for target in task.targets)])


def label_names(task: Task) -> dict[int, str]:
    """What each written label value means, for the header of a prediction; nested regions are joined, inner first."""
    inner_first = [task.targets[index] for index in reversed(task.painting_order)]
    values = sorted(target.write_as for target in task.targets)
    return {value: "+".join(target.name for target in inner_first if value in target.labels) for value in values}


def _member(labels: Tensor, values: tuple[int, ...]) -> Tensor:
    return torch.isin(labels, torch.as_tensor(np.array(values), dtype=labels.dtype))
