"""The numbers of a result as text: one table, written for a terminal or as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.report.results import ALL_STRUCTURES, EvaluationResult
from swin_unetr.evaluation.scoring import correct_rejection
from swin_unetr.evaluation.statistics import Summary
from swin_unetr.evaluation.wording import scans_of_patients
from swin_unetr.words import decimal

#: Metrics that a terminal shows where there are more than `FEW`; the report has them all.
SHOWN = ("dice", "hd95_mm", "nsd", "lesion_dice", "lesion_hd95_mm")
FEW = 5


@dataclass(frozen=True)
class TextTable:
    """Headings and rows of strings; the first column is text, the others numbers."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown, with its title above it."""
        lines = [
            _markdown_row(self.headings),
            "|" + "|".join([":--", *["--:"] * (len(self.headings) - 1)]) + "|",
            *(_markdown_row(row) for row in self.rows),
        ]
        return "\n".join([f"**{self.title}**", "", *lines])

    def print(self) -> None:
        """Print the table on standard output."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for index, heading in enumerate(self.headings):
            table.add_column(Text(heading), justify="right" if index else "left", min_width=len(decimal(0)))
        for row in self.rows:
            table.add_row(*map(Text, row))
        # Text that is piped or logged has no width to keep to: nothing is folded there.
        width = None if Console().is_terminal else sum(map(len, self.headings)) + 200
        console = Console(width=width)
        console.print(Text(f"\n{self.title}", style="bold"))
        console.print(table)


def summary_tables(result: EvaluationResult) -> list[TextTable]:
    """One table of statistics per metric; a row per structure, then the mean over structures."""
    return [_summary_table(result, metric) for metric in result.metrics]


def print_result(result: EvaluationResult) -> None:
    """Print tables, worst cases, failures and notes on standard output."""
    shown = [metric for metric in result.metrics if metric.name in SHOWN or len(result.metrics) <= FEW]
    for metric in shown:
        _summary_table(result, metric).print()
    if further := [metric.name for metric in result.metrics if metric not in shown]:
        print(f"further metrics, in the report: {', '.join(further)}")
    for heading, lines in (
        ("worst cases", worst_cases(result)),
        ("failed", [f"{failure.case}: {failure.message}" for failure in result.failures]),
        ("notes", list(result.notes)),
    ):
        if lines:
            print("\n".join([f"{heading}:", *(f"  {line}" for line in lines)]))


def worst_cases(result: EvaluationResult) -> list[str]:
    """One line per structure with its worst cases by the first metric."""
    return [
        f"{summary.structure}: " + ", ".join(f"{case} {decimal(value)}" for case, value in summary.worst)
        for summary in _shown(result, result.summary)
        if summary.worst and summary.metric == result.metrics[0].name
    ]


def _summary_table(result: EvaluationResult, metric: Metric) -> TextTable:
    summaries = _shown(result, [summary for summary in result.summary if summary.metric == metric.name])
    failed = len(result.failures)
    headings = ["structure", "mean", "95 % CI", "SD", "median", "quartiles", "worst", "evaluated", "failed"]
    if failed:
        headings.insert(3, f"failed as {metric.value_of_failure:g}")
    grouped = result.number_of_patients != len(result.evaluated)
    if grouped:
        headings.append("patients")
    infinite = any(summary.infinite for summary in summaries)
    if infinite:
        headings.append("infinite")
    partly = any(summary.not_looked_for for summary in summaries)
    if partly:
        headings.append("not looked for")
    if any(summary.both_empty for summary in summaries):
        headings.append("in neither" + _as_what(result, metric))
    rows = []
    for summary in summaries:
        worst = summary.minimum if metric.higher_is_better else summary.maximum
        row = [
            *(summary.structure, decimal(summary.mean), _range(summary.ci_low, summary.ci_high)),
            *([decimal(summary.mean_with_failures)] if failed else []),
            *(decimal(summary.std), decimal(summary.median), _range(summary.quartile1, summary.quartile3)),
            *(decimal(worst), str(summary.evaluated), str(summary.failed)),
            *([str(summary.patients)] if grouped else []),
            *([str(summary.infinite)] if infinite else []),
            *([str(summary.not_looked_for)] if partly else []),
            str(summary.both_empty),
        ]
        rows.append(tuple(row[: len(headings)]))
    number = scans_of_patients(len(result.evaluated), result.number_of_patients, "evaluated" if failed else "")
    title = f"{metric.title} of {number}, {failed} failed"
    return TextTable(title, tuple(headings), tuple(rows))


def _as_what(result: EvaluationResult, metric: Metric) -> str:
    """What a structure in neither mask counts as by the policy; for lesions, the rules in the report decide."""
    if result.empty == "nan" or metric.kind == "lesion":
        return ""
    return f", as {correct_rejection(higher_is_better=metric.higher_is_better):g}"


def _shown(result: EvaluationResult, summaries: Sequence[Summary]) -> list[Summary]:
    """Without the mean over structures where there is one structure only."""
    single = len(result.reference_task.targets) == 1
    return [summary for summary in summaries if not (single and summary.structure == ALL_STRUCTURES)]


def _range(low: float, high: float) -> str:
    """Two ends, a digit shorter than a value: they are less sure, and tables must fit a window."""
    return "–" if math.isnan(low) else "–".join(decimal(end, 3) for end in (low, high))


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
