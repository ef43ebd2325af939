"""A comparison as text: tables for a terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from swin_unetr.evaluation.comparison.inputs import Method
from swin_unetr.evaluation.comparison.paired import Difference
from swin_unetr.evaluation.comparison.ranking import Ranking
from swin_unetr.evaluation.comparison.values import Comparison
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.report.tables import TextTable
from swin_unetr.evaluation.scoring import ALPHA, LEAST_PATIENTS
from swin_unetr.evaluation.wording import scans_of_patients
from swin_unetr.words import count, decimal, interval

#: Heading of the predictions that were not on the grid of their reference.
RESAMPLED = "resampled to the grid of the reference (own grid and the reference's)"


def print_comparison(result: Comparison, methods: Mapping[str, Method]) -> None:
    """Print the rankings, the differences of the metrics that they count, and the cases that are lacking or odd."""
    shown = [metric for metric in result.metrics if metric.name in result.ranked_by]
    for table in comparison_tables(result, shown):
        table.print()
    if further := [metric.name for metric in result.metrics if metric not in shown]:
        print(f"further metrics, in the report of --output: {', '.join(further)}")
    if lines := lacking_lines(result):
        print("\n".join(["lacking:", *(f"  {line}" for line in lines)]))
    if lines := not_looked_for_lines(result):
        print("\n".join(lines))
    if lines := resampled_lines(methods):
        print("\n".join([f"{RESAMPLED}:", *(f"  {line}" for line in lines)]))
    if words := too_few(result):
        print(words)
    print(counts_line(result))
    print(headline(result))


def counts_line(result: Comparison) -> str:
    """How many cases there are, and how many some method lacks."""
    number = scans_of_patients(len(result.common), result.number_of_patients(result.common))
    line = f"{len(result.methods)} methods, {number} that all have"
    if len(result.cases) == len(result.common):
        return f"{line}."
    lacks = ", ".join(f"{name} lacks {len(of)}" for name, of in result.lacking.items() if of)
    ranked = scans_of_patients(len(result.ranked), result.number_of_patients(result.ranked))
    return f"{line}, of {len(result.cases)}: {lacks}. The rankings count {ranked}."


def too_few(result: Comparison) -> str:
    """Which differences have too few patients to be significant, in a sentence; empty if none has."""
    counts = sorted({item.patients for item in result.differences if 0 < item.patients < LEAST_PATIENTS})
    if not counts:
        return ""
    least = max(item.p_least for item in result.differences if item.patients in counts)
    below = f"of {counts[0]}" if len(counts) == 1 else f"of {counts[0]} to {counts[-1]}"
    noun = "patient" if counts[-1] == 1 else "patients"
    return (
        f"Differences {below} {noun} cannot reach p < {ALPHA:g}: the least p of Wilcoxon's test with "
        f"{count(counts[0], 'patient')} is {least:.3g}. It takes {LEAST_PATIENTS} patients, all with a difference of "
        "the same sign; Holm's correction asks for more."
    )


def headline(result: Comparison) -> str:
    """Who is first by the ranks in every case, and how sure that is."""
    if not result.rankings:
        return "No metric to rank by."
    places = result.rankings[0].places
    first = [place for place in places if place.place == 1]
    if len(first) > 1:
        return f"{' and '.join(place.method for place in first)} tie for the first place by the ranks in every case."
    words = f"{first[0].method} is first by the ranks in every case"
    if not first[0].stability:
        return f"{words}. A single patient does not say how sure that is."
    return f"{words}, and in {first[0].stability[0]:.1%} of the resamples of patients."


def resampled_lines(methods: Mapping[str, Method]) -> list[str]:
    """One line per method and case whose prediction was put on the grid of its reference."""
    return [f"{name}, {case}: {how}" for name, method in methods.items() for case, how in method.resampled.items()]


def lacking_lines(result: Comparison) -> list[str]:
    """One line per method and case that it lacks."""
    return [f"{name}, {case}: {message}" for name, of in result.lacking.items() for case, message in of.items()]


def not_looked_for_lines(result: Comparison) -> list[str]:
    """In how many cases which structure was not looked for, in a line; empty if all were, in all."""
    if not result.not_looked_for:
        return []
    named = ", ".join(f"{name} in {count(number, 'case')}" for name, number in result.not_looked_for.items())
    return [f"Not looked for in the references, and not counted there: {named}."]


def comparison_tables(result: Comparison, metrics: Sequence[Metric]) -> list[TextTable]:
    """The rankings, and the differences of these metrics."""
    tables = [_ranking_table(ranking, result) for ranking in result.rankings]
    return tables + [_difference_table(metric, result) for metric in metrics]


def _ranking_table(ranking: Ranking, result: Comparison) -> TextTable:
    resampled = ranking.kendall_tau is not None
    headings = ["method", "place", "mean rank"]
    if resampled:
        headings += ["95 % of resamples", *(f"place {place + 1}" for place in range(len(result.methods)))]
    rows = []
    for place in ranking.places:
        row = [place.method, str(place.place), f"{place.mean_rank:.3f}"]
        if resampled:
            row += [f"{place.place_low} to {place.place_high}", *(f"{share:.1%}" for share in place.stability)]
        rows.append(tuple(row))
    title = f"{ranking.title} ({', '.join(result.ranked_by)})"
    if ranking.kendall_tau is not None and not math.isnan(ranking.kendall_tau.mean):
        title += f"; Kendall's tau of the resamples {ranking.kendall_tau.mean:.2f}"
    return TextTable(title, tuple(headings), tuple(rows))


def _difference_table(metric: Metric, result: Comparison) -> TextTable:
    several = len(result.methods) > 2
    grouped = any(item.pairs != item.patients for item in result.differences)
    units = ["cases", "patients"] if grouped else ["cases"]
    headings = ["structure", *units, "difference", "95 % CI", "median", "won-tied-lost", "p", "p (Holm)"]
    rows = []
    for item in result.differences:
        if item.metric == metric.name:
            row = [
                *(item.structure, str(item.pairs), *([str(item.patients)] if grouped else [])),
                _signed(item.mean) + _beside(item),
                interval(item.ci_low, item.ci_high, signed=True),
                *(_signed(item.median), f"{item.first_wins}-{item.ties}-{item.second_wins}"),
                *(_p(item.p), _p(item.p_holm)),
            ]
            if several:
                row.insert(1, _pair(item))
            rows.append(tuple(row))
    if several:
        headings.insert(1, "pair")
    pair = "first − second" if several else f"{result.methods[0]} − {result.methods[1]}"
    better = "higher" if metric.higher_is_better else "lower"
    return TextTable(f"{metric.title}, {pair} ({better} is better)", tuple(headings), tuple(rows))


def _beside(item: Difference) -> str:
    """How many patients the mean leaves out, and which method has the infinite values."""
    lost = ((item.first, item.first_infinite), (item.second, item.second_infinite))
    words = ", ".join(f"{name} ∞ in {number}" for name, number in lost if number)
    return f" (of {item.patients - item.infinite}; {words})" if words else ""


def _pair(item: Difference) -> str:
    return f"{item.first} − {item.second}"


def _signed(value: float) -> str:
    return decimal(value, signed=True)


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
