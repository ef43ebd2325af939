"""Rankings in the manner of the challenges, and how stable they are when other cases of the same kind are drawn.

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
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.paired import DECIMALS, holm, signed_rank, subtract

#: Level of the tests that `test_then_rank` counts.
ALPHA = 0.05


@dataclass(frozen=True)
class Table:
    """One metric of every method: what a ranking counts."""

    metric: Metric
    #: Methods x cases x structures. NaN: the structure is in neither mask, or the method lacks the case.
    values: NDArray[np.float64]
    #: Methods x cases: whether the method has the case.
    held: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A method in a ranking."""

    method: str
    #: 1 is the best; methods that tie share the smaller number.
    place: int
    #: Mean of its ranks, by which the places are given.
    mean_rank: float
    #: Share of the resamples of cases in which it holds place 1, 2, ...; empty where nothing was resampled.
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


def rankings(names: Sequence[str], tables: Sequence[Table], seed: int) -> tuple[Ranking, ...]:
    """The ranking by each of three schemes, from the same tables.

    In every scheme methods that tie share the mean of their ranks, ranks are averaged over structures and metrics, and
    a structure in neither mask is a right answer, which ranks with the best. A case that a method lacks has the worst
    rank in the first scheme, and counts as the metric's value of failure in the others (0 for Dice).

    - "rank_then_mean": rank in every case, then average (BraTS; challengeR's rank-then-aggregate).
    - "mean_then_rank": rank by the mean over cases (leaderboards by mean Dice; challengeR's aggregate-then-rank).
    - "test_then_rank": rank by how many others are worse by a one-sided Wilcoxon test at 5 % after Holm's correction
      over the ordered pairs of a structure and metric (Medical Segmentation Decathlon, Antonelli et al., Nat. Commun.
      13:4128, 2022). Not resampled.
    """
    ranks = np.concatenate([case_ranks(table) for table in tables], axis=2).mean(axis=2)
    filled = [_filled(table) for table in tables]
    cases = ranks.shape[1]
    everything = np.ones((1, cases))
    observed = everything @ ranks.T / cases, _mean_ranks(tables, filled, everything)
    resampled: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    for block in resamples(cases, np.random.default_rng(seed)):
        weights = _weights(block)
        resampled[0].append(weights @ ranks.T / cases)
        resampled[1].append(_mean_ranks(tables, filled, weights))
    by_tests = _significance_ranks(tables, filled)
    return (
        _ranking("rank_then_mean", "Ranks in every case, averaged", names, observed[0], resampled[0]),
        _ranking("mean_then_rank", "Ranks of the means over cases", names, observed[1], resampled[1]),
        _ranking("test_then_rank", "Ranks by significant differences", names, by_tests, []),
    )


def case_ranks(table: Table) -> NDArray[np.float64]:
    """Rank, 1 the best, of every method in every case and structure; shape of `table.values`."""
    cost = np.round(-table.values if table.metric.higher_is_better else table.values, DECIMALS)
    finite = cost[np.isfinite(cost)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    # Best: in neither mask. Then the finite values, then the infinite ones, and last of all what is lacking.
    cost = np.where(np.isnan(cost), low - 1, np.clip(cost, low - 1, high + 1))
    cost = np.where(table.held[:, :, None], cost, high + 2)
    ranks: NDArray[np.float64] = rankdata(cost, axis=0)
    return ranks


def _filled(table: Table) -> NDArray[np.float64]:
    return np.where(table.held[:, :, None], table.values, table.metric.value_of_failure)


def _weights(block: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often every case was drawn (resamples x cases)."""
    resample, cases = block.shape
    flat = (block + np.arange(resample)[:, None] * cases).ravel()
    counts: NDArray[np.float64] = np.bincount(flat, minlength=resample * cases).reshape(resample, cases).astype(float)
    return counts


def _mean_ranks(
    tables: Sequence[Table], filled: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean over metrics and structures of the ranks of the weighted means (resamples x methods)."""
    ranks = []
    for table, values in zip(tables, filled, strict=True):
        methods, cases, structures = values.shape
        flat = values.transpose(1, 0, 2).reshape(cases, methods * structures)
        number = weights @ ~np.isnan(flat)
        with np.errstate(invalid="ignore"):
            means = weights @ np.where(np.isfinite(flat), flat, 0) / number
        means[weights @ np.isinf(flat) > 0] = math.inf
        cost = np.round(-means if table.metric.higher_is_better else means, DECIMALS)
        cost[number == 0] = -math.inf  # in neither mask of any case: nothing is wrong
        ranks.append(rankdata(cost.reshape(-1, methods, structures), axis=1))
    mean: NDArray[np.float64] = np.concatenate(ranks, axis=2).mean(axis=2)
    return mean


def _significance_ranks(tables: Sequence[Table], filled: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean over metrics and structures of the ranks by the number of methods that are significantly worse."""
    ranks = []
    for table, values in zip(tables, filled, strict=True):
        methods, _, structures = values.shape
        ordered = [(a, b) for a in range(methods) for b in range(methods) if a != b]
        for structure in range(structures):
            p_values = []
            for a, b in ordered:
                delta = subtract(values[a, :, structure], values[b, :, structure])
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
    """From the mean rank of each method (1 x methods), and in the resamples (blocks of resamples x methods)."""
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
