"""Statistics over cases, with what has no value counted beside what has one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from swin_unetr.evaluation.metrics import Metric

#: How many of the worst cases a summary names.
WORST_CASES = 5


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One metric of one structure over cases. NaN where no case has a value."""

    structure: str
    metric: str
    #: Over the evaluated cases that have a value: `evaluated` of them, less those undefined.
    mean: float
    #: Sample standard deviation (n - 1); NaN for a single case.
    std: float
    median: float
    minimum: float
    maximum: float
    #: The mean when every failed case counts as the metric's value of failure (0 for Dice): what a challenge reports.
    mean_with_failures: float
    #: Cases evaluated, whether or not their metric has a value.
    evaluated: int
    #: Of these, cases that have the structure in neither mask.
    both_empty: int
    #: Cases that were asked for and could not be evaluated; not in `mean`.
    failed: int
    #: Case and value, worst first.
    worst: tuple[tuple[str, float], ...]


def summarise(
    values: Mapping[str, float], *, structure: str, metric: Metric, failed: int, both_empty: int = 0
) -> Summary:
    """Statistics of one metric of one structure.

    Args:
        values: value of every evaluated case by its id; NaN where it is undefined, and left out of the statistics.
        structure: name of the structure.
        metric: the metric; says which end is the worst and what a failure counts as.
        failed: number of cases that were asked for and could not be evaluated.
        both_empty: number of evaluated cases that have the structure in neither mask.
    """
    defined = {case: value for case, value in values.items() if not math.isnan(value)}
    sample = np.array(list(defined.values()), dtype=np.float64)
    with_failures = np.append(sample, [metric.value_of_failure] * failed)
    sign = 1 if metric.higher_is_better else -1
    worst = sorted(defined.items(), key=lambda item: (sign * item[1], item[0]))[:WORST_CASES]
    return Summary(
        structure=structure,
        metric=metric.name,
        mean=_mean(sample),
        std=float(np.std(sample, ddof=1)) if sample.size > 1 else math.nan,
        median=float(np.median(sample)) if sample.size else math.nan,
        minimum=float(sample.min()) if sample.size else math.nan,
        maximum=float(sample.max()) if sample.size else math.nan,
        mean_with_failures=_mean(with_failures),
        evaluated=len(values),
        both_empty=both_empty,
        failed=failed,
        worst=tuple(worst),
    )


def mean_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN when there is none."""
    return _mean(np.array([value for value in values if not math.isnan(value)], dtype=np.float64))


def _mean(sample: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(sample.mean()) if sample.size else math.nan
