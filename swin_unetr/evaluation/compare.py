"""Compares methods on the same cases: paired differences, tests, and a ranking with its stability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from swin_unetr.evaluation.bootstrap import RESAMPLES, SEED, mean_interval, resamples
from swin_unetr.evaluation.metrics import METRICS, Metric

#: Values by case, structure and metric. A case that could not be evaluated has no key; NaN is "in neither mask".
Values = Mapping[tuple[str, str, str], float]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of one structure, `first` minus `second`, over the cases in which both have a value."""

    metric: str
    structure: str
    first: str
    second: str
    #: Cases in which both have a value, and common cases in which one has none.
    pairs: int
    undefined: int
    #: Pairs whose difference is infinite: in the test and the counts, in no mean.
    infinite: int
    mean: float
    ci_low: float
    ci_high: float
    median: float
    first_wins: int
    second_wins: int
    ties: int
    #: Wilcoxon's signed-rank test, two-sided, zeros left out; 1 where every difference is zero.
    p: float
    #: Holm's correction over the structures and pairs of the metric.
    p_holm: float


@dataclass(frozen=True, kw_only=True)
class Place:
    """A method in the ranking."""

    method: str
    #: 1 is the best; methods that tie share the smaller number.
    place: int
    mean_rank: float
    #: Share of the resamples of cases in which it holds place 1, 2, ...
    stability: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What comparing gives."""

    methods: tuple[str, ...]
    structures: tuple[str, ...]
    #: Cases that every method has, sorted.
    cases: tuple[str, ...]
    #: Cases that some method lacks, and which methods those are.
    left_out: Mapping[str, tuple[str, ...]]
    differences: tuple[Difference, ...]
    ranking: tuple[Place, ...]
    #: Metrics that the ranking counts.
    ranked_by: tuple[str, ...]


def compare_values(methods: Mapping[str, Values], structures: Sequence[str], *, seed: int = SEED) -> Comparison:
    """Compare two or more methods.

    Ranking as in the Medical Segmentation Decathlon and BraTS: methods are ranked per case, structure and metric (Dice
    and, where there, HD95 and NSD; ties share the mean rank), and the ranks are averaged. A structure that is in
    neither mask is a right answer and ranks with the best.
    """
    names = tuple(methods)
    held = {name: {case for case, _, _ in values} for name, values in methods.items()}
    common = tuple(sorted(set.intersection(*held.values())))
    left_out = {
        case: tuple(name for name in names if case not in held[name])
        for case in sorted(set.union(*held.values()) - set(common))
    }
    present = set.intersection(*({metric for _, _, metric in values} for values in methods.values()))
    metrics = [metric for metric in METRICS if metric.name in present]
    tables = {
        metric.name: np.array(
            [[[values.get((case, name, metric.name), math.nan) for name in structures] for case in common]
             for values in methods.values()]
        )
        for metric in metrics
    }  # fmt: skip
    # A metric that has no value anywhere says nothing, and would make every rank a tie.
    metrics = [metric for metric in metrics if not np.isnan(tables[metric.name]).all()] or metrics
    differences = [
        item for metric in metrics for item in _differences(metric, tables[metric.name], names, structures, seed)
    ]
    ranked = [metric for metric in metrics if metric.name in ("dice", "hd95_mm", "nsd")] or metrics[:1]
    ranks = np.concatenate([_ranks(tables[metric.name], metric) for metric in ranked], axis=2).mean(axis=2)
    return Comparison(
        methods=names,
        structures=tuple(structures),
        cases=common,
        left_out=left_out,
        differences=tuple(differences),
        ranking=_ranking(names, ranks, np.random.default_rng(seed)),
        ranked_by=tuple(metric.name for metric in ranked),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, Scand. J. Statist. 6:65, 1979); NaN stays and is not counted."""
    known = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected, highest = [math.nan] * len(p_values), 0.0
    for position, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - position)))
        corrected[index] = highest
    return corrected


def _differences(
    metric: Metric, table: NDArray[np.float64], names: Sequence[str], structures: Sequence[str], seed: int
) -> list[Difference]:
    """Of one metric; `table` is methods x cases x structures."""
    found = [
        (structure, first, second, table[first, :, index], table[second, :, index])
        for index, structure in enumerate(structures)
        for first, second in combinations(range(len(names)), 2)
    ]
    deltas = [_delta(a, b) for *_, a, b in found]
    p_values = [_signed_rank(delta[~np.isnan(delta)]) for delta in deltas]
    sign = 1 if metric.higher_is_better else -1
    result = []
    for (structure, first, second, *_), delta, p, p_holm in zip(found, deltas, p_values, holm(p_values), strict=True):
        defined = delta[~np.isnan(delta)]
        finite = defined[np.isfinite(defined)]
        low, high = mean_interval(np.sort(finite), np.random.default_rng(seed))
        result.append(
            Difference(
                metric=metric.name,
                structure=structure,
                first=names[first],
                second=names[second],
                pairs=defined.size,
                undefined=delta.size - defined.size,
                infinite=defined.size - finite.size,
                mean=float(finite.mean()) if finite.size else math.nan,
                ci_low=low,
                ci_high=high,
                median=float(np.median(defined)) if defined.size else math.nan,
                first_wins=int((sign * defined > 0).sum()),
                second_wins=int((sign * defined < 0).sum()),
                ties=int((defined == 0).sum()),
                p=p,
                p_holm=p_holm,
            )
        )
    return result


def _delta(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences; two equal infinities differ by nothing."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(a) & (a == b), 0.0, a - b)


def _signed_rank(delta: NDArray[np.float64]) -> float:
    if not delta.size:
        return math.nan
    return float(wilcoxon(delta).pvalue) if np.any(delta != 0) else 1.0


def _ranks(table: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Rank, 1 the best, of every method (first axis) in every case and structure."""
    cost = -table if metric.higher_is_better else table
    best = np.where(np.isnan(cost), -np.inf, cost)
    ranks: NDArray[np.float64] = rankdata(best, axis=0)
    return ranks


def _ranking(names: Sequence[str], ranks: NDArray[np.float64], generator: np.random.Generator) -> tuple[Place, ...]:
    """From the mean rank of each method in each case (methods x cases)."""
    mean = ranks.mean(axis=1)
    places = rankdata(np.round(mean, 9), method="min").astype(int)
    counts = np.zeros((len(names), len(names)))
    for block in resamples(ranks.shape[1], generator):
        resampled = np.round(np.stack([row[block].mean(axis=1) for row in ranks]), 9)
        held = rankdata(resampled, method="min", axis=0).astype(int)
        for place in range(len(names)):
            counts[:, place] += (held == place + 1).sum(axis=1)
    order = sorted(range(len(names)), key=lambda index: (mean[index], names[index]))
    return tuple(
        Place(
            method=names[index],
            place=int(places[index]),
            mean_rank=float(mean[index]),
            stability=tuple(float(share) for share in counts[index] / RESAMPLES),
        )
        for index in order
    )
