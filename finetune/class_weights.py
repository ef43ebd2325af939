"""Weights of the classes in the loss, from how often each is seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from swin_unetr.errors import DataError
from swin_unetr.tasks import Task


def weights_by_frequency(
    voxels: Iterable[Sequence[int]], task: Task, looked_for: Iterable[Sequence[bool]] | None = None
) -> tuple[float, ...]:
    """Weights by the inverse square root of the share of the voxels, with a mean of 1.

    The inverse itself would weigh an adrenal gland some 10,000 times as much as the background; its root, as
    Mahajan et al. (1805.00932, section 2.2) balance classes, a hundred times. The share of a structure is counted in
    the scans in which it was looked for.

    Args:
        voxels: of each training scan, its voxels of the background and of every target of the task.
        task: softmax has a weight for the background too, sigmoid has not.
        looked_for: of each training scan, for every target whether it was looked for. If None, all were.

    Returns:
        One for each output channel of the network.

    Raises:
        DataError: a target that no training scan has.
    """
    rows = [tuple(counts) for counts in voxels]
    known = [(True,) * len(counts) for counts in rows] if looked_for is None else [(True, *of) for of in looked_for]
    totals = [sum(counts) for counts in zip(*rows, strict=True)]
    channels = totals if task.activation == "softmax" else totals[1:]
    names = ["background", *(target.name for target in task.targets)][-len(channels) :]
    if absent := [name for name, count in zip(names, channels, strict=True) if not count]:
        raise DataError(
            f"{task.name}: no training scan has {', '.join(absent)}, so that there is no weight by its frequency; give "
            "loss.class_weights as numbers, or leave them out"
        )
    seen = [sum(of) for of in zip(*known, strict=True)][-len(channels) :]
    weights = [1 / math.sqrt(count * (len(rows) / scans)) for count, scans in zip(channels, seen, strict=True)]
    return tuple(round(weight * len(weights) / sum(weights), 6) for weight in weights)
