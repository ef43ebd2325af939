"""What the results of a study say: the level of each arm, and its difference from the baseline.

The scores of a case are averaged over the seeds first; patients are the unit, as in `compare`. Intervals over patients
are about these trainings; those over patients and seeds are about other trainings too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from swin_unetr.evaluation.bootstrap import METHOD, SEED, mean_interval
from swin_unetr.evaluation.comparison.paired import Difference, Pair, case_differences, differences, holm
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.report.results import ALL_STRUCTURES
from swin_unetr.evaluation.scoring import mean_over, patient_indices, patient_means
from swin_unetr.evaluation.statistics import mean_defined
from swin_unetr.study.results import Table

#: Values by arm, share of the labels and seed, of one data set and one metric; the folds are joined.
Scores = Mapping[tuple[str, float, int], Table]
#: How the numbers come about, for readers.
TEXTS = (
    f"The scores of a case are averaged over the seeds first; the unit is the patient. Over patients: {METHOD}; it is "
    "about these trainings only. With other seeds: the same over patients and seeds together (crossed random effects, "
    "Satterthwaite's degrees of freedom), for other trainings; it takes two seeds.",
    "Differences are the arm less the baseline, paired over patients. p: Wilcoxon's signed-rank test, two-sided, over "
    "patients; Holm: over the arms and shares of a measure, for single structures over the structures too.",
)


@dataclass(frozen=True, kw_only=True)
class Level:
    """One metric of one arm at one share of the labels."""

    data: str
    arm: str
    labels: float
    metric: str
    structure: str
    #: Seeds that are done, and the test cases and patients that all of them have.
    seeds: tuple[int, ...]
    cases: int
    patients: int
    #: Mean over the patients with a finite value, and its 95 % interval over patients.
    mean: float
    ci_low: float
    ci_high: float
    #: Patients whose value is infinite; no mean has them.
    infinite: int
    #: The same mean of each seed.
    by_seed: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One metric of an arm less the baseline at one share of the labels, over the seeds that both have."""

    data: str
    arm: str
    labels: float
    seeds: tuple[int, ...]
    #: Paired over patients, each the mean over seeds.
    difference: Difference
    #: Mean difference of each seed.
    by_seed: tuple[float, ...]
    #: 95 % interval over patients and seeds; see `interval_over_both`.
    both_low: float
    both_high: float


@dataclass(frozen=True)
class _Paired:
    """An arm and the baseline on the cases that both have."""

    arm: str
    baseline: str
    labels: float
    seeds: tuple[int, ...]
    cases: tuple[str, ...]
    #: Seeds x cases x structures.
    ours: NDArray[np.float64]
    theirs: NDArray[np.float64]


def levels(
    data: str, scores: Scores, structures: Sequence[str], metric: Metric, patients: Mapping[str, str]
) -> list[Level]:
    """The levels of every arm and share that a seed is done of: of the mean of structures, then of each structure."""
    kinds = sorted({(labels, arm) for arm, labels, _ in scores})
    return [
        _level(data, scores, arm, labels, name, metric, patients, structures)
        for labels, arm in kinds
        for name in _names(structures)
    ]


def _level(
    data: str,
    scores: Scores,
    arm: str,
    labels: float,
    structure: str,
    metric: Metric,
    patients: Mapping[str, str],
    structures: Sequence[str],
) -> Level:
    seeds = seeds_of(scores, arm, labels)
    cases = _common([scores[arm, labels, seed] for seed in seeds])
    table = _column(_table(scores, arm, labels, seeds, cases, structures), structure, structures)
    unit = patient_indices(cases, patients)

    def of_patients(by_case: NDArray[np.float64]) -> NDArray[np.float64]:
        means = patient_means(by_case, unit)
        return means[~np.isnan(means)]

    whole = of_patients(mean_over(table.transpose(1, 0, 2).reshape(len(cases), -1)))
    finite = whole[np.isfinite(whole)]
    low, high = np.clip(mean_interval(finite, np.random.default_rng(SEED)), 0, metric.highest)
    return Level(
        data=data,
        arm=arm,
        labels=labels,
        metric=metric.name,
        structure=structure,
        seeds=seeds,
        cases=len(cases),
        patients=whole.size,
        mean=mean_defined(finite),
        ci_low=float(low),
        ci_high=float(high),
        infinite=whole.size - finite.size,
        by_seed=tuple(_finite_mean(of_patients(mean_over(of_seed))) for of_seed in table),
    )


def gains(
    data: str,
    scores: Scores,
    structures: Sequence[str],
    metric: Metric,
    patients: Mapping[str, str],
    *,
    baseline: str,
    arms: Sequence[str],
) -> list[Gain]:
    """Every other arm less the baseline, at every share that has a seed of both.

    Holm's correction counts the arms and shares; for single structures, the structures too.

    Args:
        data: name of the data set.
        scores: of one metric.
        structures: names of the structures.
        metric: the metric.
        patients: patient by case.
        baseline: the arm that is subtracted.
        arms: the others, in their order.
    """
    paired = list(_pairs(scores, structures, baseline, arms))
    found: list[Gain] = []
    for names in ([ALL_STRUCTURES], structures if len(structures) > 1 else []):
        family = [_gain(data, each, name, structures, metric, patients) for name in names for each in paired]
        corrected = holm([gain.difference.p for gain in family])
        for gain, p_holm in zip(family, corrected, strict=True):
            found.append(replace(gain, difference=replace(gain.difference, p_holm=p_holm)))
    return found


def _gain(
    data: str, paired: _Paired, name: str, structures: Sequence[str], metric: Metric, patients: Mapping[str, str]
) -> Gain:
    unit = patient_indices(paired.cases, patients)
    held = np.ones(len(paired.cases), dtype=np.bool_)
    ours, theirs = (_column(of, name, structures) for of in (paired.ours, paired.theirs))

    def pair(rows: slice) -> Pair:
        """The values of some seeds, cases x (seeds and structures)."""
        one, two = (of[rows].transpose(1, 0, 2).reshape(len(held), -1) for of in (ours, theirs))
        return Pair(name, paired.arm, paired.baseline, one, two, held)

    by_seed = [
        patient_means(case_differences(metric, pair(slice(row, row + 1))), unit) for row in range(len(paired.seeds))
    ]
    low, high = interval_over_both(np.stack(by_seed))
    return Gain(
        data=data,
        arm=paired.arm,
        labels=paired.labels,
        seeds=paired.seeds,
        difference=differences(metric, [pair(slice(None))], patients=unit)[0],
        by_seed=tuple(_finite_mean(row) for row in by_seed),
        both_low=low,
        both_high=high,
    )


def interval_over_both(table: NDArray[np.float64]) -> tuple[float, float]:
    """95 % interval of the mean for other patients and other seeds: two crossed random effects.

    With another seed, all cases change together, which an interval over patients does not see: with one seed each, two
    encoders of random weights differ "significantly". The variance is that of the analysis of variance without
    replication, the degrees of freedom are Satterthwaite's (Biometrics Bulletin 2:110, 1946).

    Args:
        table: seeds x patients (or cases, where each is a patient); those with a value that is not finite are left out.

    Returns:
        Both ends; NaN for a single seed or case, because the spread is then unknown.
    """
    table = table[:, np.isfinite(table).all(axis=0)]
    seeds, cases = table.shape
    if seeds < 2 or cases < 2:
        return math.nan, math.nan
    mean, by_seed, by_case = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = float(((table - by_seed[:, None] - by_case + mean) ** 2).sum() / ((seeds - 1) * (cases - 1)))
    squares = [
        (cases * float(by_seed.var(ddof=1)), seeds - 1, 1),
        (seeds * float(by_case.var(ddof=1)), cases - 1, 1),
        (rest, (seeds - 1) * (cases - 1), -1),
    ]
    # An effect that is smaller than chance counts as 0.
    kept = [term for term in squares[:2] if term[0] > rest]
    terms = squares if len(kept) == 2 else kept or squares[2:]
    total = abs(sum(sign * square for square, _, sign in terms))
    if total == 0:
        return float(mean), float(mean)
    freedom = total**2 / sum(square**2 / free for square, free, _ in terms)
    half = float(student.ppf(0.975, freedom)) * math.sqrt(total / (seeds * cases))
    return float(mean) - half, float(mean) + half


def seeds_of(scores: Scores, arm: str, labels: float) -> tuple[int, ...]:
    """The seeds that are done of an arm at a share, ascending."""
    return tuple(sorted(seed for name, share, seed in scores if (name, share) == (arm, labels)))


def _pairs(scores: Scores, structures: Sequence[str], baseline: str, arms: Sequence[str]) -> Iterator[_Paired]:
    for labels in sorted({labels for _, labels, _ in scores}):
        for arm in arms:
            seeds = tuple(sorted({*seeds_of(scores, arm, labels)} & {*seeds_of(scores, baseline, labels)}))
            if not seeds:
                continue
            cases = _common([scores[name, labels, seed] for name in (arm, baseline) for seed in seeds])
            if cases:
                ours, theirs = (_table(scores, name, labels, seeds, cases, structures) for name in (arm, baseline))
                yield _Paired(arm, baseline, labels, seeds, cases, ours, theirs)


def _table(
    scores: Scores, arm: str, labels: float, seeds: Sequence[int], cases: Sequence[str], structures: Sequence[str]
) -> NDArray[np.float64]:
    """Values, seeds x cases x structures; NaN where one is undefined."""
    return np.array(
        [[[scores[arm, labels, seed][case][name] for name in structures] for case in cases] for seed in seeds],
        dtype=np.float64,
    ).reshape(len(seeds), len(cases), len(structures))


def _column(table: NDArray[np.float64], structure: str, structures: Sequence[str]) -> NDArray[np.float64]:
    """The values of one structure, or of all."""
    if structure == ALL_STRUCTURES:
        return table
    return table[:, :, [list(structures).index(structure)]]


def _names(structures: Sequence[str]) -> list[str]:
    return [ALL_STRUCTURES, *(structures if len(structures) > 1 else ())]


def _common(tables: Sequence[Table]) -> tuple[str, ...]:
    """Ids of the cases that all have, sorted."""
    return tuple(sorted(set.intersection(*({*table} for table in tables)))) if tables else ()


def _finite_mean(values: NDArray[np.float64]) -> float:
    return mean_defined(values[np.isfinite(values)])
