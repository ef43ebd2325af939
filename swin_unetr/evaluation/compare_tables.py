"""A comparison as text: tables for a terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from swin_unetr.evaluation.compare import Comparison
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.paired import Difference
from swin_unetr.evaluation.ranking import Ranking
from swin_unetr.evaluation.tables import TextTable


def print_comparison(result: Comparison) -> None:
    """Print the rankings, the differences of the metrics that they count, and the cases that some method lacks."""
    shown = [metric for metric in result.metrics if metric.name in result.ranked_by]
    for table in comparison_tables(result, shown):
        table.print()
    if further := [metric.name for metric in result.metrics if metric not in shown]:
        print(f"further metrics, in the report of --output: {', '.join(further)}")
    if lines := lacking_lines(result):
        print("\n".join(["lacking:", *(f"  {line}" for line in lines)]))
    print(counts_line(result))
    print(headline(result))


def counts_line(result: Comparison) -> str:
    """How many cases there are, and how many some method lacks."""
    line = f"{len(result.methods)} methods, {len(result.common)} cases that all have"
    if len(result.cases) == len(result.common):
        return f"{line}."
    lacks = ", ".join(f"{name} lacks {len(of)}" for name, of in result.lacking.items() if of)
    return f"{line}, of {len(result.cases)}: {lacks}. The rankings count {len(result.ranked)} cases."


def headline(result: Comparison) -> str:
    """Who is first by the ranks in every case, and how sure that is."""
    if not result.rankings:
        return "No metric to rank by."
    places = result.rankings[0].places
    first = [place for place in places if place.place == 1]
    if len(first) > 1:
        return f"{' and '.join(place.method for place in first)} tie for the first place by the ranks in every case."
    return (
        f"{first[0].method} is first by the ranks in every case, and in {first[0].stability[0]:.1%} of the resamples "
        "of cases."
    )


def lacking_lines(result: Comparison) -> list[str]:
    """One line per method and case that it lacks."""
    return [f"{name}, {case}: {message}" for name, of in result.lacking.items() for case, message in of.items()]


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
    headings = ["structure", "cases", "difference", "95 % CI", "median", "won-tied-lost", "p", "p (Holm)"]
    rows = []
    for item in result.differences:
        if item.metric == metric.name:
            row = [
                *(item.structure, str(item.pairs), _signed(item.mean)),
                "–" if math.isnan(item.ci_low) else f"{_signed(item.ci_low)} to {_signed(item.ci_high)}",
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


def _pair(item: Difference) -> str:
    return f"{item.first} − {item.second}"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.4f}".replace("inf", "∞")


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
