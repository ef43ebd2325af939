"""Paired differences of two methods: how large, how sure, and how often each is the better one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from swin_unetr.evaluation.bootstrap import SEED, mean_interval
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.scoring import DECIMALS, least_p, mean_over, patient_means, settled
from swin_unetr.evaluation.statistics import quantile

#: Pairs with a difference up to which the test enumerates all signs; above it, the normal distribution is near enough.
EXACT_UP_TO = 50


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of one structure, `first` minus `second`, over the cases in which one of the two has a value.

    The unit is the patient, whose difference is the mean of those of the cases.
    """

    metric: str
    structure: str
    first: str
    second: str
    #: Cases that count: both methods have them, and the structure is in one of their masks or in the reference.
    pairs: int
    #: Patients of these cases: what is averaged, tested and counted below.
    patients: int
    #: Cases that both have, in which neither has a value: the structure is in no mask.
    undefined: int
    #: Cases left out since one of the two lacks them; under "common", since some method does.
    lacking: int
    #: Patients whose difference is infinite: they are in the median, the test and the counts, but in no mean.
    infinite: int
    #: For how many of them the first method, or the second, is the infinitely worse one.
    first_infinite: int
    second_infinite: int
    #: Mean over the patients with a finite difference.
    mean: float
    #: Ends of the 95 % interval of the mean; see `bootstrap.mean_interval`.
    ci_low: float
    ci_high: float
    median: float
    #: How often each is better; differences below 1e-9 are ties.
    first_wins: int
    second_wins: int
    ties: int
    #: Wilcoxon's signed-rank test, two-sided; see `signed_rank`.
    p: float
    #: "exact" or "normal"; None where there is nothing to test.
    p_method: str | None
    #: The smallest p that this number of patients can give.
    p_least: float
    #: Holm's correction over the structures and pairs of the metric; their mean is a family of its own.
    p_holm: float
    #: Cases left out since the structure was not looked for there.
    not_looked_for: int = 0


@dataclass(frozen=True)
class SignedRank:
    """P-values of Wilcoxon's signed-rank test; NaN without a pair."""

    #: One-sided: that differences tend to lie below, or above, zero.
    less: float
    greater: float
    method: str | None

    @property
    def two_sided(self) -> float:
        """Twice the smaller one, at most 1."""
        return math.nan if math.isnan(self.less) else min(1.0, 2 * min(self.less, self.greater))


def signed_rank(differences: NDArray[np.float64]) -> SignedRank:
    """Wilcoxon's signed-rank test (Biometrics Bulletin 1:80, 1945).

    Zeros are left out, as Wilcoxon did, and equal sizes share the mean of their ranks. Up to `EXACT_UP_TO` differences
    the distribution is the exact one of these ranks, given the ties, with all signs equally likely; above, the normal
    one with the variance corrected for ties, without continuity correction. Where there are neither zeros nor ties,
    both are those of `scipy.stats.wilcoxon`; with them scipy takes the normal one from 14 differences on.

    Args:
        differences: one per pair, rounded; may be infinite, not NaN.
    """
    if not differences.size:
        return SignedRank(math.nan, math.nan, None)
    moved = differences[differences != 0]
    if not moved.size:
        return SignedRank(1.0, 1.0, "exact")
    sizes = np.abs(moved)
    ranks = rankdata(sizes)
    if moved.size > EXACT_UP_TO:
        number = moved.size
        ties = np.unique(sizes, return_counts=True)[1].astype(np.float64)
        variance = number * (number + 1) * (2 * number + 1) / 24 - float((ties**3 - ties).sum()) / 48
        score = (float(ranks[moved > 0].sum()) - number * (number + 1) / 4) / math.sqrt(variance)
        return SignedRank(float(norm.cdf(score)), float(norm.sf(score)), "normal")
    # Mean ranks are halves, so their doubles are integers: the chance of every sum, one difference after the other.
    doubled = np.rint(2 * ranks).astype(np.int64)
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1
    for rank in doubled:
        chance[rank:] = (chance[rank:] + chance[:-rank]) / 2
        chance[:rank] /= 2
    seen = int(doubled[moved > 0].sum())
    return SignedRank(float(chance[: seen + 1].sum()), float(chance[seen:].sum()), "exact")


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Statist. 6:65, 1979); NaN stays and is not counted."""
    known = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected, highest = [math.nan] * len(p_values), 0.0
    for position, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - position)))
        corrected[index] = highest
    return corrected


def subtract(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences; two equal infinities differ by nothing, and NaN stays."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(first) & (first == second), 0.0, first - second)


@dataclass(frozen=True)
class Pair:
    """Two methods and a structure, with their values by case."""

    structure: str
    first: str
    second: str
    #: Cases, or cases x structures, of which the mean counts.
    first_values: NDArray[np.float64]
    second_values: NDArray[np.float64]
    #: Whether the case counts: both methods have it.
    held: NDArray[np.bool_]
    #: Whether the structure was looked for in the case. If None, in all.
    looked_for: NDArray[np.bool_] | None = None


def differences(
    metric: Metric, pairs: Sequence[Pair], seed: int = SEED, patients: NDArray[np.int64] | None = None
) -> list[Difference]:
    """The differences of one metric.

    Args:
        metric: the metric.
        pairs: the family that Holm's correction counts.
        seed: of every bootstrap.
        patients: number of the patient of every case (`scoring.patient_indices`). If None, each case is a patient.
    """
    by_case = [case_differences(metric, pair) for pair in pairs]
    units = [_of_patients(delta, patients) for delta in by_case]
    tests = [signed_rank(np.round(unit, DECIMALS)) for unit in units]
    corrected = holm([test.two_sided for test in tests])
    return [
        _difference(metric, pair, delta, unit, test, p_holm, seed)
        for pair, delta, unit, test, p_holm in zip(pairs, by_case, units, tests, corrected, strict=True)
    ]


def case_differences(metric: Metric, pair: Pair) -> NDArray[np.float64]:
    """Difference of every case; NaN where neither has a value, or one of the two lacks the case."""
    values = np.stack([pair.first_values, pair.second_values]).reshape(2, len(pair.held), -1)
    both = np.broadcast_to(pair.held, (2, len(pair.held)))
    one, two = np.where(pair.held[:, None], settled(values, both, higher_is_better=metric.higher_is_better), math.nan)
    return mean_over(subtract(one, two))


def _of_patients(delta: NDArray[np.float64], patients: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """One difference for every patient who has a case that counts, ascending."""
    means = delta if patients is None else patient_means(delta, patients)
    return np.sort(means[~np.isnan(means)])


def _difference(
    metric: Metric,
    pair: Pair,
    delta: NDArray[np.float64],
    unit: NDArray[np.float64],
    test: SignedRank,
    p_holm: float,
    seed: int,
) -> Difference:
    """The summary of the differences of the cases and of the patients."""
    finite = unit[np.isfinite(unit)]
    low, high = mean_interval(finite, np.random.default_rng(seed))
    gain = np.round(unit if metric.higher_is_better else -unit, DECIMALS)
    pairs = int((~np.isnan(delta)).sum())
    known = np.ones_like(pair.held) if pair.looked_for is None else pair.looked_for
    return Difference(
        metric=metric.name,
        structure=pair.structure,
        first=pair.first,
        second=pair.second,
        pairs=pairs,
        patients=unit.size,
        undefined=int((pair.held & known).sum()) - pairs,
        lacking=int((~pair.held & known).sum()),
        infinite=unit.size - finite.size,
        first_infinite=int((gain == -math.inf).sum()),
        second_infinite=int((gain == math.inf).sum()),
        mean=float(finite.mean()) if finite.size else math.nan,
        ci_low=float(np.clip(low, -metric.highest, metric.highest)),
        ci_high=float(np.clip(high, -metric.highest, metric.highest)),
        median=quantile(unit, 0.5),
        first_wins=int((gain > 0).sum()),
        second_wins=int((gain < 0).sum()),
        ties=int((gain == 0).sum()),
        p=test.two_sided,
        p_method=test.method,
        p_least=least_p(unit.size),
        p_holm=p_holm,
        not_looked_for=int((~known).sum()),
    )
