"""From sums of windows to labels on the scan's own grid, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from swin_unetr.inference.engine.accumulate import Block, Sweep
from swin_unetr.inference.engine.memory_plan import MemoryPlan
from swin_unetr.tasks import Task
from swin_unetr.trust.recorder import Recorder
from transforms.grids import Grids
from transforms.labels import REGION_THRESHOLD
from transforms.linear import Box

#: Bytes of the widest array that a block of voxels passes through. On the CPU it should stay in the cache: a voxel of
#: 48 features and 117 classes takes 575 ns with 2 MB, 545 with 4, 660 with 8 and 730 with 16 (one thread; with 14
#: classes there is no difference).
BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}
#: How many such arrays are held at a time, at most: parts of an interpolation, scores, probabilities, their order.
BLOCKS_HELD = 12
#: Columns that every kernel of matrix products takes in whole steps.
_COLUMNS = 64


@dataclass(frozen=True)
class Pass:
    """A model at work on a tile."""

    sweep: Sweep
    #: Makes scores of the sums; None if the sums are scores.
    head: Callable[[Tensor], Tensor] | None
    #: Channels of the sums or of the scores, whichever are more.
    widest: int


@dataclass(frozen=True, eq=False)
class Result:
    """The arrays that are filled block by block, on the grid of the scan's file, in stored order."""

    #: X x Y x Z.
    labels: NDArray[Any]
    #: Classes x X x Y x Z, float32.
    probabilities: NDArray[np.float32] | None

    @classmethod
    def empty(cls, task: Task, shape: tuple[int, ...], *, with_probabilities: bool) -> Result:
        """A result of background alone, in a file's order (X fastest), so that it is written without a copy."""
        labels = np.zeros(shape, label_type(task), order="F")
        if not with_probabilities:
            return cls(labels, None)
        probabilities = np.moveaxis(np.zeros((*shape, task.num_classes), np.float32, order="F"), -1, 0)
        if task.activation == "softmax":
            probabilities[0] = 1
        return cls(labels, probabilities)


def label_type(task: Task) -> type[np.unsignedinteger[Any] | np.signedinteger[Any]]:
    """The type of a task's labels: uint8 where they fit."""
    return np.uint8 if max(task.known_labels) <= np.iinfo(np.uint8).max else np.int32


def finish_tile(
    passes: Sequence[Pass],
    plan: MemoryPlan,
    tile: Box,
    grids: Grids,
    task: Task,
    result: Result,
    recorder: Recorder | None = None,
) -> None:
    """Compute the windows of a tile, and finish its voxels as soon as no further window touches what they need.

    Scores are interpolated before their activation; several models' probabilities are averaged after it. Voxels that
    no computed window covers are background.

    Args:
        passes: the models, which have not begun.
        plan: axis and thickness of the slabs.
        tile: box of the native grid.
        grids: the grids.
        task: what the classes mean.
        result: filled in the tile.
        recorder: takes the signals of every block. If None, there are none.

    Raises:
        FloatingPointError: scores are NaN or infinite, which would pass for background.
    """
    widest = max(each.widest for each in passes)
    for slab in plan.slabs(tile):
        first, stop = grids.needed(plan.axis, range(*slab[plan.axis]))
        for each in passes:
            each.sweep.release(first)
            each.sweep.reach(stop)
        limit = BLOCK_BYTES.get(passes[0].sweep.device.type, BLOCK_BYTES["cpu"]) // (4 * widest)
        for box in blocks(slab, limit):
            _finish_block(passes, box, grids, task, result, recorder)


def blocks(box: Box, voxels: int) -> Iterator[Box]:
    """Halve a box along its longest axis until no part has more voxels."""
    sizes = [high - low for low, high in box]
    longest = sizes.index(max(sizes))
    if sizes[0] * sizes[1] * sizes[2] <= voxels or sizes[longest] == 1:
        yield box
        return
    low, high = box[longest]
    middle = (low + high) // 2
    for span in ((low, middle), (middle, high)):
        x, y, z = (span if axis == longest else box[axis] for axis in range(3))
        yield from blocks((x, y, z), voxels)


def _finish_block(
    passes: Sequence[Pass], box: Box, grids: Grids, task: Task, result: Result, recorder: Recorder | None
) -> None:
    found = [_scores(each, box, grids) for each in passes]
    if all(each is None for each in found):
        return  # it stays background
    only = found[0] if len(found) == 1 else None
    mean: Tensor | None = None
    if only is None or result.probabilities is not None or recorder is not None:
        device = passes[0].sweep.device
        mean = torch.zeros(task.num_classes, *(high - low for low, high in box), device=device)
        of_members = []
        for each in found:
            probabilities = _probabilities(each, mean.shape, task, device)
            mean.add_(probabilities, alpha=1 / len(found))
            if recorder is not None and only is None:
                of_members.append(probabilities)
        if recorder is not None:
            recorder.block(mean, of_members, box)
        if result.probabilities is not None:
            grids.place(mean.cpu().numpy(), box, result.probabilities)
    if only is not None:
        # Scores are ordered as their probabilities are, and do not depend on how exponentials are rounded.
        labels = labels_of_scores(only.values, task, bar=0.0)
        if only.covered is not None:
            labels.masked_fill_(~only.covered, 0)
    else:
        assert mean is not None
        labels = labels_of_scores(mean, task, bar=REGION_THRESHOLD)
    grids.place(labels.cpu().numpy(), box, result.labels)


def _scores(each: Pass, box: Box, grids: Grids) -> Block | None:
    """A model's scores of a native box, and where windows were computed; None if no window was."""
    needed = [grids.needed(axis, range(*span)) for axis, span in enumerate(box)]
    block = each.sweep.block((needed[0], needed[1], needed[2]))
    if block is None:
        return None
    start = (needed[0][0], needed[1][0], needed[2][0])
    values = grids.interpolate(block.values, start, box)
    covered = None
    if block.covered is not None:
        # Only voxels with scores count in an interpolation; if they are less than half of it, nothing is known.
        share = grids.interpolate(block.covered[None].float(), start, box)
        covered = share[0] >= 0.5
        values = values / share.clamp(min=0.5)
    scores = values if each.head is None else _through(each.head, values)
    _check_finite(scores)
    return Block(scores, covered)


def _check_finite(scores: Tensor) -> None:
    # The sum is one pass over what lies in the cache; only where it is not finite the scores are looked at one by one.
    if not math.isfinite(float(scores.sum())) and not bool(scores.isfinite().all()):
        raise FloatingPointError


def _through(head: Callable[[Tensor], Tensor], features: Tensor) -> Tensor:
    """Scores of a block's features; the same, to the last bit, whatever the block."""
    flat = features.flatten(1)
    voxels = flat.shape[1]
    # Products of matrices round differently in the last columns where those fill no whole step of their kernels.
    scores = head(pad(flat, (0, -voxels % _COLUMNS)))[:, :voxels]
    return scores.view(len(scores), *features.shape[1:])


def _probabilities(scores: Block | None, shape: Sequence[int], task: Task, device: torch.device) -> Tensor:
    """Classes x box; background where no window was computed."""
    softmax = task.activation == "softmax"
    background = torch.zeros(shape[0], 1, 1, 1, device=device)
    background[0] = int(softmax)
    if scores is None:
        return background.expand(*shape)
    values = scores.values.softmax(dim=0) if softmax else scores.values.sigmoid()
    return values if scores.covered is None else torch.where(scores.covered, values, background)


def labels_of_scores(scores: Tensor, task: Task, bar: float) -> Tensor:
    """The labels that are written for scores: of the highest class, or of the regions above a bar, outer before inner.

    Args:
        scores: classes x X x Y x Z, before or after the activation.
        task: what the classes mean.
        bar: what a region's score must exceed.

    Returns:
        X x Y x Z label values.
    """
    values = [target.write_as for target in task.targets]
    kind = torch.uint8 if label_type(task) is np.uint8 else torch.int32
    if task.activation == "softmax":
        return torch.tensor([0, *values], dtype=kind, device=scores.device)[scores.max(dim=0).indices]
    labels = torch.zeros(scores.shape[1:], dtype=kind, device=scores.device)
    for index in task.painting_order:
        labels.masked_fill_(scores[index] > bar, values[index])
    return labels
