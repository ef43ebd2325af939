"""The lesions of every structure of a case, and the rules that separate them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.lesions.matching import LesionScores, bounding_box, lesion_scores
from swin_unetr.evaluation.lesions.rules import LESION_RULES, LesionRules
from swin_unetr.evaluation.report.brats_table import REGIONS, official_scores
from swin_unetr.tasks import Task

#: Default rules of a BraTS task, and the word for no lesions at all.
DEFAULT_RULES, NO_LESIONS = "brats2025", "none"


@dataclass(frozen=True, kw_only=True)
class StructureLesions:
    """One structure of one case."""

    scores: LesionScores
    #: Official numbers by the stem of their column (`brats_table`), for the regions of BraTS.
    official: Mapping[str, float] | None


def find_rules(name: str | None, task: Task) -> LesionRules | None:
    """The rules of a name. If None, those of BraTS for a task with its regions, and no lesions for other tasks.

    Raises:
        ConfigError: no rules have this name.
    """
    if name is None:
        return LESION_RULES[DEFAULT_RULES] if is_brats(task) else None
    if name == NO_LESIONS:
        return None
    if name not in LESION_RULES:
        raise ConfigError(f"lesions: {name!r} is not one of {', '.join((*LESION_RULES, NO_LESIONS))}")
    return LESION_RULES[name]


def is_brats(task: Task) -> bool:
    """Whether a task has the regions ET, TC and WT."""
    return {target.name for target in task.targets}.issuperset(REGIONS)


def lesions_of_case(
    prediction: NDArray[np.integer[Any]],
    reference: NDArray[np.integer[Any]],
    affine: NDArray[np.float64],
    tasks: tuple[Task, Task],
    rules: LesionRules,
) -> dict[str, StructureLesions]:
    """Lesions by structure, in the order of the reference's task.

    Args:
        prediction: label map (X,Y,Z).
        reference: label map (X,Y,Z) on the same grid.
        affine: voxel indices -> mm, (4,4).
        tasks: what the labels of prediction and reference mean; both have the same structures.
        rules: what a lesion is.
    """
    total = reference.size
    box = bounding_box([prediction != 0, reference != 0], max(rules.dilation, rules.core_dilation or 0))
    box = box or (slice(0, 1),) * 3
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    sides = (prediction[box], tasks[0]), (reference[box], tasks[1])
    masks = {
        target.name: tuple(np.isin(labels, _labels_of(task, target.name)) for labels, task in sides)
        for target in tasks[1].targets
    }
    with_official = is_brats(tasks[1])
    found = {}
    for name, (predicted, known) in masks.items():
        of_structure = rules.of(name)
        cores = None
        if name == "ET" and rules.core_dilation is not None and "TC" in masks:
            cores = masks["TC"][0] & ~predicted, masks["TC"][1] & ~known
        scores = lesion_scores(predicted, known, moved, of_structure, cores)
        official = None
        if with_official and name in REGIONS:
            official = official_scores(predicted, known, moved, of_structure, scores, total)
        found[name] = StructureLesions(scores=scores, official=official)
    return found


def _labels_of(task: Task, structure: str) -> list[int]:
    return next(list(target.labels) for target in task.targets if target.name == structure)
