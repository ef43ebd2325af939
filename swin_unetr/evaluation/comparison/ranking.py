"""Rankings as the challenges make them, and how stable they are when other patients of the same kind are drawn.

The three schemes are those that challengeR distinguishes (Wiesenfarth et al., Sci. Rep. 11:2369, 2021; arXiv 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from swin_unetr.evaluation.bootstrap import CONFIDENCE, RESAMPLES, resamples
from swin_unetr.evaluation.comparison.paired import holm, signed_rank, subtract
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.scoring import ALPHA, DECIMALS, mean_over, patient_means, rank_means, settled


@dataclass(frozen=True)
class Table:
    """One metric of every method: what a ranking counts."""

    metric: Metric
    #: Methods x cases x structures. NaN: the structure is in neither mask, or the method lacks the case.
    values: NDArray[np.float64]
    #: Methods x cases: whether the method has the case.
    held: NDArray[np.bool_]
    #: Cases x structures: whether the structure was looked for in the case. If None, everywhere.
    looked_for: NDArray[np.bool_] | None = None

    @property
    def settled(self) -> NDArray[np.float64]:
        """The values; where one method invented a structure or lacks the case, with the others' correct rejections."""
        values = settled(self.values, self.held, higher_is_better=self.metric.higher_is_better)
        return values if self.looked_for is None else np.where(self.looked_for, values, math.nan)

    @property
    def filled(self) -> NDArray[np.float64]:
        """The settled values, with the metric's value of failure for cases that a method lacks."""
        values = np.where(self.held[:, :, None], self.settled, self.metric.value_of_failure)
        return values if self.looked_for is None else np.where(self.looked_for, values, math.nan)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A method in a ranking."""

    method: str
    #: 1 is the best; methods that tie share the smaller number.
    place: int
    #: Mean of its ranks, by which the places are given.
    mean_rank: float
    #: Share of the resamples of patients in which it holds place 1, 2, ...; empty where nothing was resampled.
    stability: tuple[float, ...] = ()
    #: Between which places 95 % of the resamples lie.
    place_low: int | None = None
    place_high: int | None = None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Kendall's tau-b between the ranking and those of the resamples: 1 the same order, -1 the reverse."""

    mean: float
    quartile1: float
    median: float
    quartile3: float
    #: Resamples in which all methods tie, so that tau is undefined; also all of them, where they tie in the ranking.
    undefined: int


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The methods in order, by one scheme."""

    scheme: str
    title: str
    places: tuple[Place, ...]
    kendall_tau: Agreement | None


def rankings(
    names: Sequence[str], tables: Sequence[Table], seed: int, patients: NDArray[np.int64] | None = None
) -> tuple[Ranking, ...]:
    """The ranking by each of three schemes, from the same tables; empty if no case has a value.

    In every scheme methods that tie share the mean of their ranks, and ranks are averaged over structures and metrics.
    A structure that is in no mask does not count; where one method has invented it, the others are right. A case that a
    method lacks has the worst rank in the first scheme, and counts as the metric's value of failure in the others (0
    for Dice). Each patient counts once, with the mean of the cases.

    - "rank_then_mean": rank in every case, then average (BraTS; challengeR's rank-then-aggregate).
    - "mean_then_rank": rank by the mean over patients, and before it by how many distances are infinite (leaderboards
      by mean Dice; challengeR's aggregate-then-rank).
    - "test_then_rank": rank by how many others are worse by a one-sided Wilcoxon test at 5 % after Holm's correction
      over the ordered pairs of a structure and metric (Medical Segmentation Decathlon, Antonelli et al., Nat. Commun.
      13:4128, 2022). Not resampled.

    Args:
        names: of the methods.
        tables: the metrics that count.
        seed: of the resamples.
        patients: number of the patient of every case (`scoring.patient_indices`). If None, each case is a patient.
    """
    by_cell = np.concatenate([case_ranks(table) for table in tables], axis=2)
    patients = np.arange(by_cell.shape[1]) if patients is None else patients
    of_patients = patient_means(mean_over(by_cell).T, patients)
    says: NDArray[np.bool_] = np.logical_not(np.isnan(of_patients).any(axis=1))
    if not says.any():
        return ()
    ranks = of_patients[says]  # patients x methods
    means = [_PatientMeans(table, patients, says) for table in tables]
    number = len(ranks)
    everything = np.ones((1, number))
    observed = everything @ ranks / number, _mean_ranks(means, everything)
    resampled: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    # Resamples of a single patient are that patient, and would make every order look certain.
    for block in resamples(number, np.random.default_rng(seed)) if number > 1 else ():
        weights = _weights(block)
        resampled[0].append(weights @ ranks / number)
        resampled[1].append(_mean_ranks(means, weights))
    by_tests = _significance_ranks(tables, patients)
    return (
        _ranking("rank_then_mean", "Ranks in every case, averaged", names, observed[0], resampled[0]),
        _ranking("mean_then_rank", "Ranks of the means over patients", names, observed[1], resampled[1]),
        _ranking("test_then_rank", "Ranks by significant differences", names, by_tests, []),
    )


def case_ranks(table: Table) -> NDArray[np.float64]:
    """Rank, 1 the best, of every method in every case and structure; NaN where the structure is in no mask.

    What a method lacks has the last rank, after infinite values.
    """
    values = table.settled
    cost = np.round(-values if table.metric.higher_is_better else values, DECIMALS)
    finite = cost[np.isfinite(cost)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    nothing = (np.isnan(values) & table.held[:, :, None]).any(axis=0)
    if table.looked_for is not None:
        nothing |= ~table.looked_for
    cost = np.where(table.held[:, :, None], np.clip(cost, low - 1, high + 1), high + 2)
    ranks: NDArray[np.float64] = rankdata(np.nan_to_num(cost), axis=0)
    return np.where(nothing, math.nan, ranks)


class _PatientMeans:
    """One metric, by patient, from which the means over any sample of patients are computed."""

    def __init__(self, table: Table, patients: NDArray[np.int64], says: NDArray[np.bool_]) -> None:
        """Average over the cases of every patient; `says` are the patients that count."""
        filled = table.filled.transpose(1, 0, 2)  # cases x methods x structures
        self.higher_is_better = table.metric.higher_is_better
        self.finite = patient_means(np.where(np.isfinite(filled), filled, math.nan), patients)[says]
        infinite = np.where(np.isnan(filled), math.nan, np.isinf(filled))
        self.infinite = patient_means(infinite, patients)[says]

    def ranks(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ranks of the weighted means: weights (resamples x patients) to resamples x methods x structures."""
        means, infinite = (_weighted(values, weights) for values in (self.finite, self.infinite))
        return rank_means(means, infinite, higher_is_better=self.higher_is_better)


def _weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted means over the first axis of what is not NaN; NaN where all is."""
    flat = values.reshape(len(values), -1)
    number = weights @ (~np.isnan(flat)).astype(float)
    sums = weights @ np.nan_to_num(flat)
    means = np.divide(sums, number, out=np.full_like(sums, math.nan), where=number > 0)
    shaped: NDArray[np.float64] = means.reshape(len(weights), *values.shape[1:])
    return shaped


def _weights(block: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often every patient was drawn (resamples x patients)."""
    resample, patients = block.shape
    flat = (block + np.arange(resample)[:, None] * patients).ravel()
    counts = np.bincount(flat, minlength=resample * patients)
    return counts.reshape(resample, patients).astype(np.float64)


def _mean_ranks(means: Sequence[_PatientMeans], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over metrics and structures of the ranks of the weighted means (resamples x methods)."""
    ranks = np.concatenate([of.ranks(weights) for of in means], axis=2)
    known = ~np.isnan(ranks)
    mean: NDArray[np.float64] = np.nan_to_num(ranks).sum(axis=2) / known.sum(axis=2)
    return mean


def _significance_ranks(tables: Sequence[Table], patients: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over metrics and structures of the ranks by the number of methods that are significantly worse."""
    ranks = []
    for table in tables:
        values = table.filled
        methods, _, structures = values.shape
        ordered = [(a, b) for a in range(methods) for b in range(methods) if a != b]
        for structure in range(structures):
            p_values = []
            for a, b in ordered:
                delta = patient_means(subtract(values[a, :, structure], values[b, :, structure]), patients)
                test = signed_rank(np.round(delta[~np.isnan(delta)], DECIMALS))
                p_values.append(test.greater if table.metric.higher_is_better else test.less)
            beaten = np.zeros(methods)
            for (a, _), p in zip(ordered, holm(p_values), strict=True):
                beaten[a] += p < ALPHA
            ranks.append(rankdata(-beaten))
    mean: NDArray[np.float64] = np.mean(ranks, axis=0)[None]
    return mean


def _ranking(
    scheme: str,
    title: str,
    names: Sequence[str],
    observed: NDArray[np.float64],
    resampled: Sequence[NDArray[np.float64]],
) -> Ranking:
    """Rank by the mean rank of each method (1 x methods), and in the resamples (blocks of resamples x methods)."""
    mean, places = observed[0], _places(observed)[0]
    held = _places(np.concatenate(resampled)) if resampled else None
    number = len(names)
    found = []
    for index in sorted(range(number), key=lambda index: (places[index], names[index])):
        stability: tuple[float, ...] = ()
        ends: tuple[int, int] | tuple[None, None] = (None, None)
        if held is not None:
            counts = np.bincount(held[:, index], minlength=number + 1)[1:]
            stability = tuple(float(share) for share in counts / RESAMPLES)
            low, high = np.quantile(held[:, index], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
            ends = (int(low), int(high))
        found.append(
            Place(
                method=names[index],
                place=int(places[index]),
                mean_rank=float(mean[index]),
                stability=stability,
                place_low=ends[0],
                place_high=ends[1],
            )
        )
    agreement = None if held is None else _agreement(places, held)
    return Ranking(scheme=scheme, title=title, places=tuple(found), kendall_tau=agreement)


def _places(mean_ranks: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places along the last axis; methods that tie share the smaller number."""
    places: NDArray[np.int64] = rankdata(np.round(mean_ranks, DECIMALS), method="min", axis=1).astype(np.int64)
    return places


def _agreement(places: NDArray[np.int64], held: NDArray[np.int64]) -> Agreement:
    """Kendall's tau-b (Biometrika 33:239, 1945) of `places` with every row of `held`."""
    one, other = np.triu_indices(len(places), 1)
    order, orders = np.sign(places[one] - places[other]), np.sign(held[:, one] - held[:, other])
    norms = np.sqrt(float(np.abs(order).sum()) * np.abs(orders).sum(axis=1))
    tau = (orders @ order)[norms > 0] / norms[norms > 0]
    middle = np.quantile(tau, [0.25, 0.5, 0.75]) if tau.size else [math.nan] * 3
    return Agreement(
        mean=float(tau.mean()) if tau.size else math.nan,
        quartile1=float(middle[0]),
        median=float(middle[1]),
        quartile3=float(middle[2]),
        undefined=int((norms == 0).sum()),
    )
