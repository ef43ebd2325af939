"""Statistics over cases and their patients, with what has no value counted beside what has one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.evaluation.bootstrap import SEED, mean_interval
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.scoring import patient_indices, patient_means

#: How many of the worst cases a summary names.
WORST_CASES = 5


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One metric of one structure over cases. NaN where no case has a value."""

    structure: str
    metric: str
    #: Mean over `patients`, each with the mean of the cases that have a finite value: those evaluated, without those
    #: undefined and those `infinite`.
    mean: float
    #: Sample standard deviation (n - 1) over these cases; NaN for a single case.
    std: float
    #: Ends of the 95 % interval of that mean; see `bootstrap.mean_interval`. NaN for one patient.
    ci_low: float
    ci_high: float
    #: Quartiles and extremes are over cases, and over infinite values too.
    quartile1: float
    median: float
    quartile3: float
    minimum: float
    maximum: float
    #: The mean when every failed case counts as the metric's value of failure (0 for Dice): what a challenge reports.
    #: Infinite as soon as one value is.
    mean_with_failures: float
    #: Patients that the mean is over.
    patients: int
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
    #: Cases in which the structure was not looked for; they are in none of the numbers above.
    not_looked_for: int = 0


def summarise(
    values: Mapping[str, float],
    *,
    structure: str,
    metric: Metric,
    failed: Collection[str],
    both_empty: int = 0,
    not_looked_for: int = 0,
    patients: Mapping[str, str] | None = None,
    generator: np.random.Generator | None = None,
) -> Summary:
    """Statistics of one metric of one structure.

    Args:
        values: value of every evaluated case by its id; NaN where it is undefined, and left out of the statistics.
        structure: name of the structure.
        metric: the metric; says which end is the worst and what a failure counts as.
        failed: the cases that were asked for and could not be evaluated.
        both_empty: number of evaluated cases that have the structure in neither mask.
        not_looked_for: number of cases in which the structure was not looked for.
        patients: patient by case; a case without one is a patient alone.
        generator: source of the bootstrap. If None, a new one of a fixed seed, so that the interval of a structure
            depends on nothing but its values.
    """
    defined = {case: value for case, value in values.items() if not math.isnan(value)}
    sample = np.sort(np.array(list(defined.values()), dtype=np.float64))
    finite = sample[np.isfinite(sample)]
    unit = _by_patient({case: value for case, value in defined.items() if math.isfinite(value)}, patients)
    low, high = mean_interval(unit, generator or np.random.default_rng(SEED))
    quartile1, median, quartile3 = (quantile(sample, part) for part in (0.25, 0.5, 0.75))
    sign = 1 if metric.higher_is_better else -1
    worst = sorted(defined.items(), key=lambda item: (sign * item[1], item[0]))[:WORST_CASES]
    return Summary(
        structure=structure,
        metric=metric.name,
        mean=_mean(unit),
        std=float(np.std(finite, ddof=1)) if finite.size > 1 else math.nan,
        ci_low=float(np.clip(low, 0, metric.highest)),
        ci_high=float(np.clip(high, 0, metric.highest)),
        quartile1=quartile1,
        median=median,
        quartile3=quartile3,
        minimum=quantile(sample, 0),
        maximum=quantile(sample, 1),
        mean_with_failures=_mean(_by_patient(defined | dict.fromkeys(failed, metric.value_of_failure), patients)),
        patients=unit.size,
        evaluated=len(values),
        both_empty=both_empty,
        infinite=int(np.isinf(sample).sum()),
        failed=len(failed),
        worst=tuple(worst),
        not_looked_for=not_looked_for,
    )


def _by_patient(values: Mapping[str, float], patients: Mapping[str, str] | None) -> NDArray[np.float64]:
    """One value for every patient, ascending: the mean of those of the cases."""
    column = np.array(list(values.values()), dtype=np.float64)
    return np.sort(patient_means(column, patient_indices(list(values), patients or {})))


def quantile(ordered: NDArray[np.float64], part: float) -> float:
    """A quantile of ascending values, linear between neighbours; infinite next to an infinite one, 0 between both."""
    if not ordered.size:
        return math.nan
    position = part * (ordered.size - 1)
    low, high = float(ordered[math.floor(position)]), float(ordered[math.ceil(position)])
    if low == high:
        return low
    if math.isinf(high - low):
        return 0.0 if math.isinf(low) and math.isinf(high) else low if math.isinf(low) else high
    return low + (high - low) * (position - math.floor(position))


def mean_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN when there is none."""
    return _mean(np.array([value for value in values if not math.isnan(value)], dtype=np.float64))


def mean_over_patients(values: Mapping[str, float], patients: Mapping[str, str]) -> float:
    """Mean over patients of the mean of those of their cases that are not NaN; NaN when there is none."""
    return _mean(_by_patient({case: value for case, value in values.items() if not math.isnan(value)}, patients))


def _mean(sample: NDArray[np.float64]) -> float:
    return float(sample.mean()) if sample.size else math.nan
