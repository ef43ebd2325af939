"""What a score over cases is: which cases count, what empty and infinite are worth, and that patients are the unit.

Every mean, interval, test and ranking over cases is made of these functions: of `evaluate`, `compare`, the studies, and
what a training chooses by. `page/scoring.md` says the same for readers, and every report holds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

#: Level of the tests.
ALPHA = 0.05
#: Decimals to which values are compared: the last bits of a division must not break a tie, or make one.
DECIMALS = 9


def scoring_text() -> str:
    """The definition for readers, Markdown."""
    return (files("swin_unetr.evaluation.report") / "page" / "scoring.md").read_text(encoding="utf-8")


def correct_rejection(*, higher_is_better: bool) -> float:
    """What a metric is worth where nothing was there and nothing was predicted, beside a method that invented it.

    All is right then: 1 for shares such as Dice, 0 for distances and amounts.
    """
    return 1.0 if higher_is_better else 0.0


def settled(values: NDArray[np.float64], held: NDArray[np.bool_], *, higher_is_better: bool) -> NDArray[np.float64]:
    """Values in which a case counts for all methods or for none.

    A structure in neither mask has no value. As long as this is so of every method, the case says nothing. Where one
    of them invented the structure, or lacks the case, the others are right: they have a correct rejection.

    Args:
        values: methods x cases x structures; NaN where the structure is in neither mask.
        held: methods x cases; whether the method has the case. What it lacks stays NaN.
        higher_is_better: of the metric.
    """
    nothing = np.isnan(values) & held[:, :, None]
    right = nothing & ~nothing.all(axis=0)
    return np.where(right, correct_rejection(higher_is_better=higher_is_better), values)


def patient_indices(cases: Sequence[str], patients: Mapping[str, str]) -> NDArray[np.int64]:
    """Number of the patient of every case, from 0 in the order of the cases; a case without one is a patient alone."""
    numbers: dict[tuple[bool, str], int] = {}
    keys = [(case in patients, patients.get(case, case)) for case in cases]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def patient_means(values: NDArray[np.float64], patients: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value of every patient: the mean of those of its cases that have one; NaN where none has.

    Infinite values do not go into a mean, nor are they forgotten: where more of them are positive than negative the
    patient's value is infinite, and the other way round; where as many are, it is the mean of the finite ones.

    Args:
        values: cases x anything.
        patients: number of the patient of every case, from 0, none left out.

    Returns:
        Patients x anything.
    """
    number = int(patients.max()) + 1 if patients.size else 0

    def total(of: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros((number, *values.shape[1:]))
        np.add.at(sums, patients, of)
        return sums

    finite = np.isfinite(values)
    count, sums = total(finite.astype(float)), total(np.where(finite, values, 0))
    infinite = total(np.where(np.isinf(values), np.sign(values), 0))
    unbounded = total(np.isinf(values).astype(float))
    means = np.divide(sums, count, out=np.where(unbounded > 0, 0.0, math.nan), where=count > 0)
    return np.where(infinite == 0, means, np.copysign(math.inf, infinite))


def mean_over(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis, as `patient_means` has it of the cases of a patient."""
    moved = np.moveaxis(values, -1, 0)
    (mean,) = patient_means(moved, np.zeros(len(moved), dtype=np.int64))
    return np.asarray(mean)


def rank_means(
    means: NDArray[np.float64], infinite: NDArray[np.float64], *, higher_is_better: bool
) -> NDArray[np.float64]:
    """Ranks of methods along axis 1, 1 the best: who has fewer infinite values first, then the mean of the finite ones.

    Args:
        means: of the finite values; NaN where there are none.
        infinite: share of the values that are infinite; NaN where nothing has a value, which has no ranks.
        higher_is_better: of the metric.
    """
    cost = np.nan_to_num(np.round(-means if higher_is_better else means, DECIMALS))
    order = rankdata(cost, axis=1, method="dense")
    worse = rankdata(np.round(np.nan_to_num(infinite), DECIMALS), axis=1, method="dense")
    ranks: NDArray[np.float64] = rankdata(worse * (means.shape[1] + 1) + order, axis=1)
    return np.where(np.isnan(infinite).any(axis=1, keepdims=True), math.nan, ranks)


def least_p(patients: int) -> float:
    """The smallest two-sided p that Wilcoxon's exact test can give: 2 of 2^n, where all differences have one sign."""
    return min(1.0, 2.0 ** (1 - patients)) if patients else math.nan


#: The fewest patients whose differences can be significant.
LEAST_PATIENTS = next(number for number in range(1, 100) if least_p(number) < ALPHA)
