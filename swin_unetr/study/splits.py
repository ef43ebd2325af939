"""Which cases a cell is trained on, which give its curve, and which choose its learning rate."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from swin_unetr.datasets.folds import make_folds

#: The learning rate is chosen on about this share of the labelled cases.
_PARTS = 5


def labelled(training: Sequence[str], share: float, seed: int, patients: Mapping[str, str]) -> tuple[str, ...]:
    """Ids of the cases whose labels are used, sorted; those of at least one patient.

    For each seed the patients are shuffled, and a share takes the first of them with all their scans: a smaller share
    lies within a larger one.

    Args:
        training: ids of the training cases of the fold, sorted.
        share: of the patients, up to 1.
        seed: of the training.
        patients: patient by case; a case that is not in it is a patient of its own.
    """
    groups: dict[tuple[bool, str], list[str]] = {}
    for case in training:
        groups.setdefault((case in patients, patients.get(case, case)), []).append(case)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    chosen = order[: max(1, math.ceil(share * len(order) - 1e-9))]
    return tuple(sorted(case for group in chosen for case in group))


def of_curve(test: Sequence[str], number: int) -> tuple[str, ...]:
    """Up to `number` of the test cases, evenly spaced by name: the same ones for every arm."""
    if len(test) <= number:
        return tuple(test)
    return tuple(test[math.floor(index * len(test) / number)] for index in range(number))


def of_search(cases: Sequence[str], patients: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Ids to train on and to validate on while learning rates are tried; None if there is a single patient.

    Both are parts of the labelled cases: no test case takes part in the choice.

    Args:
        cases: the labelled cases.
        patients: patient by case; the scans of one stay together.
    """
    groups = {case: patients[case] for case in cases if case in patients}
    number = len({*groups.values()}) + len(cases) - len(groups)
    if number < 2:
        return None
    return make_folds(cases, min(_PARTS, number), groups=groups).split(0)
