"""Statistics over cases, with what has no value counted beside what has one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.evaluation.bootstrap import SEED, mean_interval
from swin_unetr.evaluation.metrics import Metric

#: How many of the worst cases a summary names.
WORST_CASES = 5


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One metric of one structure over cases. NaN where no case has a value."""

    structure: str
    metric: str
    #: Over the evaluated cases that have a finite value: `evaluated`, less those undefined and those `infinite`.
    mean: float
    #: Sample standard deviation (n - 1) of the same; NaN for a single case.
    std: float
    #: Ends of the 95 % bootstrap interval of that mean; see `bootstrap.mean_interval`.
    ci_low: float
    ci_high: float
    #: Quartiles and extremes are over infinite values too.
    quartile1: float
    median: float
    quartile3: float
    minimum: float
    maximum: float
    #: The mean when every failed case counts as the metric's value of failure (0 for Dice): what a challenge reports.
    #: Infinite as soon as one value is.
    mean_with_failures: float
    #: Cases evaluated, whether or not their metric has a value.
    evaluated: int
    #: Of these, cases that have the structure in neither mask.
    both_empty: int
    #: Of these, cases with an infinite distance, which no mean can hold; counted beside it.
    infinite: int
    #: Cases that were asked for and could not be evaluated; not in `mean`.
    failed: int
    #: Case and value, worst first.
    worst: tuple[tuple[str, float], ...]


def summarise(
    values: Mapping[str, float],
    *,
    structure: str,
    metric: Metric,
    failed: int,
    both_empty: int = 0,
    generator: np.random.Generator | None = None,
) -> Summary:
    """Statistics of one metric of one structure.

    Args:
        values: value of every evaluated case by its id; NaN where it is undefined, and left out of the statistics.
        structure: name of the structure.
        metric: the metric; says which end is the worst and what a failure counts as.
        failed: number of cases that were asked for and could not be evaluated.
        both_empty: number of evaluated cases that have the structure in neither mask.
        generator: source of the bootstrap; none takes a new one of a fixed seed, so that the interval of a structure
            depends on nothing but its values.
    """
    defined = {case: value for case, value in values.items() if not math.isnan(value)}
    sample = np.sort(np.array(list(defined.values()), dtype=np.float64))
    finite = sample[np.isfinite(sample)]
    low, high = mean_interval(finite, generator or np.random.default_rng(SEED))
    quartile1, median, quartile3 = (quantile(sample, part) for part in (0.25, 0.5, 0.75))
    sign = 1 if metric.higher_is_better else -1
    worst = sorted(defined.items(), key=lambda item: (sign * item[1], item[0]))[:WORST_CASES]
    return Summary(
        structure=structure,
        metric=metric.name,
        mean=_mean(finite),
        std=float(np.std(finite, ddof=1)) if finite.size > 1 else math.nan,
        ci_low=low,
        ci_high=high,
        quartile1=quartile1,
        median=median,
        quartile3=quartile3,
        minimum=quantile(sample, 0),
        maximum=quantile(sample, 1),
        mean_with_failures=_mean(np.append(sample, [metric.value_of_failure] * failed)),
        evaluated=len(values),
        both_empty=both_empty,
        infinite=int(np.isinf(sample).sum()),
        failed=failed,
        worst=tuple(worst),
    )


def quantile(ordered: NDArray[np.float64], part: float) -> float:
    """A quantile of ascending values, linear between neighbours; infinite next to an infinite one."""
    if not ordered.size:
        return math.nan
    position = part * (ordered.size - 1)
    low, high = float(ordered[math.floor(position)]), float(ordered[math.ceil(position)])
    return low if low == high else low + (high - low) * (position - math.floor(position))


def mean_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN when there is none."""
    return _mean(np.array([value for value in values if not math.isnan(value)], dtype=np.float64))


def _mean(sample: NDArray[np.float64]) -> float:
    return float(sample.mean()) if sample.size else math.nan
