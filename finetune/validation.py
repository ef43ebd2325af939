"""The scores of a validation: Dice of what a prediction would write, of the whole fold and of single cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from swin_unetr.inference.engine.finish import labels_of_scores
from swin_unetr.tasks import Task
from transforms.labels import ignored_value

#: Dice of the voxels of all validation cases taken together, and its mean over the structures that decide. Unlike a
#: mean over cases, it is not moved by a single voxel that is invented in a case without the structure.
POOLED = "val/pooled_dice"
#: Moving average of that over the validations (`swin_unetr.training.choice`): the score by which a model is chosen.
SMOOTHED = "val/smoothed_pooled_dice"
#: Mean over the cases in which a structure is present or predicted, and the mean of that over all structures.
OF_CASES = "val/dice"


def score_names(task: Task) -> tuple[str, ...]:
    """Names of all scores of a validation, in the order of tables."""
    of_targets = [[f"{name}/{target.name}" for target in task.targets] for name in (POOLED, OF_CASES)]
    return (SMOOTHED, POOLED, *of_targets[0], OF_CASES, *of_targets[1])


def overlap(scores: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Voxels that the written labels of a scan share with the reference, and voxels of both, for every structure.

    Args:
        scores: C x X x Y x Z, before the activation.
        targets: encoded as for the loss: 1 x X x Y x Z class indices, or C x X x Y x Z regions; where they are
            `ignored_value`, nothing counts.
        task: what the channels mean.

    Returns:
        2 x targets, int64: the shared voxels, and the sum of both sizes.
    """
    written = labels_of_scores(scores, task, bar=0.0)  # as `predict` paints them: nested regions over each other
    counted = None if task.ignore_label is None else targets[0] != ignored_value(targets)
    values = {target.write_as for target in task.targets}
    counts = []
    for index, target in enumerate(task.targets):
        painted = [written == value for value in target.labels if value in values]
        predicted = reduce(torch.logical_or, painted)
        truth = targets[0] == index + 1 if task.activation == "softmax" else targets[index] == 1
        if counted is not None:
            predicted = predicted & counted
        counts.append(torch.stack([(predicted & truth).sum(), predicted.sum() + truth.sum()]))
    return torch.stack(counts, dim=1)


def dice_of(overlap: Tensor) -> Tensor:
    """Dice of counts as `overlap` gives them; NaN where a structure is in neither, or was not looked for."""
    return 2 * overlap[0] / overlap[1]


class ValidationScores:
    """Collects the scans that one process validates, and scores those of all.

    Args:
        task: what the channels mean.
        deciding: for each structure whether it has a part in `POOLED`.
        device: where scores come from.
    """

    def __init__(self, task: Task, deciding: Sequence[bool], device: torch.device) -> None:
        self._task = task
        self._deciding = torch.tensor(deciding, dtype=torch.bool)
        count = len(task.targets)
        self._overlap = torch.zeros(2, count, dtype=torch.int64, device=device)
        # Sum of the Dice of the cases, and how many of them are numbers.
        self._of_cases = torch.zeros(2, count, device=device)

    def add(self, scores: Tensor, targets: Tensor, labelled: Tensor | None = None) -> None:
        """Add a scan; see `overlap`.

        Args:
            scores: of the scan.
            targets: encoded.
            labelled: bool, of every output channel of the network whether it was looked for in the case: what was not
                adds nothing to the scores of its structure, whatever was predicted. If None, all were.
        """
        counts = overlap(scores, targets, self._task)
        if labelled is not None:
            counts = counts * labelled[-len(self._task.targets) :]
        dice = dice_of(counts)
        self._overlap += counts
        self._of_cases[0] += torch.nan_to_num(dice)
        self._of_cases[1] += ~dice.isnan()

    def summary(self, summed: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """All scores but the smoothed one, by their names.

        Args:
            summed: gives the sum of a tensor over all processes; all take part.
        """
        pooled = dice_of(summed(self._overlap).cpu().double())
        sums, counts = summed(self._of_cases).cpu()
        of_cases = sums / counts
        values = (pooled[self._deciding].nanmean(), *pooled, of_cases.nanmean(), *of_cases)
        return dict(zip(score_names(self._task)[1:], map(float, values), strict=True))
