"""Checks the numbers of a comparison by hand: from the CSV files of evaluate, with numpy and scipy alone.

    python scripts/check_compare.py comparison report_a report_b [report_c ...]

`comparison` is what `swin-unetr compare` wrote; the reports are those of `swin-unetr evaluate` for the same methods, in
the order of the comparison, with the same cases and policies. Nothing of this project computes here. Mean and median
differences, wins, ties, p-values, Holm's corrections, mean ranks and places are compared, to 1e-12. Wilcoxon's test is
scipy's where scipy is exact (no ties, no zeros) or asymptotic (above 50); where there are ties or zeros among 50 or
fewer, its distribution is counted out here with Python's integers. Intervals are compared with scipy's bootstrap, whose
resamples are others: by how much of the width the ends differ.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections import Counter
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, rankdata, wilcoxon

MEAN = "mean of structures"
LOWER_IS_BETTER = ("_mm", "_ml")

Column = dict[str, float]


def main() -> int:
    """Compare, print what was found; 1 where a number differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("comparison", type=Path)
    parser.add_argument("reports", type=Path, nargs="+")
    arguments = parser.parse_args()
    found = json.loads((arguments.comparison / "compare.json").read_text(encoding="utf-8"))
    tables = dict(zip(found["methods"], map(read, arguments.reports), strict=True))
    worst: dict[str, float] = {}

    def check(what: str, ours: float | str | None, by_hand: float) -> None:
        given = math.nan if ours is None else float(ours)
        same = given == by_hand or (math.isnan(given) and math.isnan(by_hand))
        worst[what] = max(worst.get(what, 0.0), 0.0 if same else abs(given - by_hand))

    families: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    scipys, widths = 0, []
    for item in found["differences"]:
        first, second = (column(tables[item[side]], item["metric"], item["structure"]) for side in ("first", "second"))
        cases = [
            case for case in first if case in second and not math.isnan(first[case]) and not math.isnan(second[case])
        ]
        delta = np.array([0.0 if first[case] == second[case] else first[case] - second[case] for case in cases])
        finite, rounded = delta[np.isfinite(delta)], np.round(delta, 9)
        gain = -rounded if item["metric"].endswith(LOWER_IS_BETTER) else rounded
        check("pairs", item["pairs"], len(cases))
        check("mean difference", item["mean"], float(np.mean(finite)) if finite.size else math.nan)
        check("median", item["median"], float(np.median(delta)) if delta.size else math.nan)
        check("wins of the first", item["first_wins"], int((gain > 0).sum()))
        check("wins of the second", item["second_wins"], int((gain < 0).sum()))
        check("ties", item["ties"], int((gain == 0).sum()))
        p_value, by_scipy = two_sided(rounded)
        scipys += by_scipy
        check("Wilcoxon p", item["p"], p_value)
        families.setdefault((item["metric"], item["structure"] == MEAN), []).append((item["p_holm"], p_value))
        if finite.size > 2 and np.ptp(finite) > 0:
            interval = bootstrap(
                (finite,), np.mean, n_resamples=50000, batch=1000, method="BCa", rng=1
            ).confidence_interval
            width = interval.high - interval.low
            widths += [abs(item["ci_low"] - interval.low) / width, abs(item["ci_high"] - interval.high) / width]
    for family in families.values():
        for (ours, _), by_hand in zip(family, holm([p for _, p in family]), strict=True):
            check("Holm p", ours, by_hand)
    for ranking, ranks in zip(
        found["rankings"], (ranks_in_cases(tables, found), ranks_of_means(tables, found)), strict=False
    ):
        for place in ranking["places"]:
            check(f"mean rank, {ranking['scheme']}", place["mean_rank"], ranks[place["method"]])
            better = sum(round(rank, 9) < round(ranks[place["method"]], 9) for rank in ranks.values())
            check(f"place, {ranking['scheme']}", place["place"], 1 + better)
    print(f"{len(found['methods'])} methods, {len(found['differences'])} differences; p by scipy itself: {scipys}")
    for what, size in worst.items():
        print(f"  {what}: largest difference {size:.1e}")
    if widths:
        print(f"  ends of the intervals against scipy's BCa bootstrap: {max(widths):.1%} of the width at most")
    return int(max(worst.values()) > 1e-12)


def read(report: Path) -> dict[tuple[str, str], Column]:
    """Values by case of every metric and structure; failed cases are not in it."""
    table: dict[tuple[str, str], Column] = {}
    with (report / "results.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] != "failed":
                table.setdefault((row["metric"], row["structure"]), {})[row["case"]] = float(row["value"] or "nan")
    return table


def column(table: dict[tuple[str, str], Column], metric: str, structure: str) -> Column:
    """Values by case of one structure, or of the mean over the structures that have a value."""
    if structure != MEAN:
        return table[metric, structure]
    columns = [of for (name, _), of in table.items() if name == metric]
    values = {case: [of[case] for of in columns if not math.isnan(of[case])] for case in columns[0]}
    return {case: float(np.mean(of)) if of else math.nan for case, of in values.items()}


def two_sided(delta: NDArray[np.float64]) -> tuple[float, bool]:
    """P of Wilcoxon's test, and whether scipy gave it."""
    if not delta.size:
        return math.nan, False
    moved = delta[delta != 0]
    if not moved.size:
        return 1.0, False
    if moved.size > 50:
        return float(wilcoxon(moved, method="asymptotic", correction=False).pvalue), True
    if len(set(np.abs(moved))) == moved.size:
        return float(wilcoxon(moved, method="exact").pvalue), True
    doubled = [round(2 * rank) for rank in rankdata(np.abs(moved))]
    ways = Counter({0: 1})
    for rank in doubled:
        ways += Counter({total + rank: number for total, number in ways.items()})
    seen = sum(rank for rank, value in zip(doubled, moved, strict=True) if value > 0)
    below = sum(number for total, number in ways.items() if total <= seen)
    above = sum(number for total, number in ways.items() if total >= seen)
    return float(min(Fraction(1), Fraction(2 * min(below, above), 2**moved.size))), False


def holm(p_values: list[float]) -> list[float]:
    """The largest over all p-values that are not larger, each times the number of those that are not smaller."""
    known = [p for p in p_values if not math.isnan(p)]
    factor = {p: [len(known) - rank for rank, q in enumerate(sorted(known)) if q == p] for p in known}
    return [math.nan if math.isnan(p) else min(1.0, max(q * max(factor[q]) for q in known if q <= p)) for p in p_values]


def ranks_in_cases(tables: dict[str, dict[tuple[str, str], Column]], found: dict[str, list[str]]) -> dict[str, float]:
    """Mean over cases, structures and metrics of 1 + the number that is better + half the number that is equal."""
    ranks: dict[str, list[float]] = {name: [] for name in tables}
    for metric, structure, case in product(found):
        costs = {name: cost(table[metric, structure].get(case), metric) for name, table in tables.items()}
        for name, own in costs.items():
            better = sum(other < own for other in costs.values())
            equal = sum(other == own for other in costs.values()) - 1
            ranks[name].append(1 + better + equal / 2)
    return {name: math.fsum(of) / len(of) for name, of in ranks.items()}


def product(found: dict[str, list[str]]) -> list[tuple[str, str, str]]:
    """Every metric that is ranked by, structure and ranked case."""
    return [(m, s, c) for m in found["ranked_by"] for s in found["structures"] for c in found["ranked"]]


def cost(value: float | None, metric: str) -> tuple[int, float]:
    """Smaller is better; in neither mask is the best, and lacking the worst."""
    if value is None:
        return (2, 0.0)
    if math.isnan(value):
        return (0, 0.0)
    return (1, round(value if metric.endswith(LOWER_IS_BETTER) else -value, 9))


def ranks_of_means(tables: dict[str, dict[tuple[str, str], Column]], found: dict[str, list[str]]) -> dict[str, float]:
    """Mean over structures and metrics of the ranks of the means; what is lacking counts 0, or an infinite distance."""
    ranks: dict[str, list[float]] = {name: [] for name in tables}
    for metric in found["ranked_by"]:
        lost = math.inf if metric.endswith(LOWER_IS_BETTER) else 0.0
        for structure in found["structures"]:
            means = {}
            for name, table in tables.items():
                values = [table[metric, structure].get(case, lost) for case in found["ranked"]]
                means[name] = float(np.mean([value for value in values if not math.isnan(value)]))
            for one, other in combinations(means, 2):
                better = cost(means[one], metric), cost(means[other], metric)
                ranks[one].append(float(better[0] > better[1]) + (better[0] == better[1]) / 2)
                ranks[other].append(float(better[1] > better[0]) + (better[0] == better[1]) / 2)
    cells = len(found["ranked_by"]) * len(found["structures"])
    return {name: 1 + math.fsum(of) / cells for name, of in ranks.items()}


if __name__ == "__main__":
    raise SystemExit(main())
