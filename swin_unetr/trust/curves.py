"""How well an order of cases by predicted quality fits their true quality."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]

#: Share of the cases, the lowest by true Dice, that count as poor.
POOR = 0.2


def risk_coverage(confidence: Array, risk: Array) -> Array:
    """Mean risk of the 1, 2, ... n most confident cases (cases,); of equally confident ones the expected value.

    Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks" (1705.08500), section 2.

    Args:
        confidence: of each case, such as its predicted Dice.
        risk: such as 1 minus its true Dice.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered, values = confidence[order], risk[order].astype(np.float64)
    _, places, sizes = np.unique(-ordered, return_inverse=True, return_counts=True)
    values = (np.bincount(places, weights=values) / sizes)[places]
    means: Array = np.cumsum(values) / np.arange(1, len(values) + 1)
    return means


def aurc(confidence: Array, risk: Array) -> float:
    """Area under the risk-coverage curve: the mean of `risk_coverage` over all coverages; NaN of no case."""
    return float(risk_coverage(confidence, risk).mean()) if len(risk) else math.nan


def auroc(suspicion: Array, poor: NDArray[np.bool_]) -> float:
    """Probability that a poor case is more suspicious than another one, ties counted half; NaN without both kinds."""
    number = int(poor.sum())
    if not 0 < number < len(poor):
        return math.nan
    ranks = rankdata(suspicion)
    return float((ranks[poor].sum() - number * (number + 1) / 2) / (number * (len(poor) - number)))


def poor_cases(dice: Array) -> NDArray[np.bool_]:
    """The lowest `POOR` of the cases by true Dice, at least one; of equal ones the first."""
    poor = np.zeros(len(dice), np.bool_)
    poor[np.argsort(dice, kind="stable")[: max(1, round(POOR * len(dice)))]] = True
    return poor


def poor_left(looked_at: NDArray[np.int64], poor: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many poor cases are left when 0, 1, ... n cases were looked at, (cases + 1,).

    Args:
        looked_at: places of the cases in the order in which people look at them.
        poor: which are poor.
    """
    left: NDArray[np.int64] = int(poor.sum()) - np.concatenate([[0], np.cumsum(poor[looked_at])])
    return left


def reliability(predicted: Array, true: Array, bins: int) -> tuple[list[tuple[float, float, int]], float]:
    """Mean predicted value, mean true value and number of cases in bins of about equally many cases, in ascending
    order; and the mean of |predicted - true| over the bins, by their cases (the expected calibration error).
    """
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, max(1, min(bins, len(order)))) if len(part)]
    rows = [(float(predicted[part].mean()), float(true[part].mean()), len(part)) for part in parts]
    error = sum(abs(one - other) * number for one, other, number in rows) / len(order) if len(order) else math.nan
    return rows, float(error)
