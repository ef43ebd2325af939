"""A study as text: tables for a terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.report.results import ALL_STRUCTURES
from swin_unetr.evaluation.report.tables import TextTable
from swin_unetr.study.collect import StudyReport
from swin_unetr.study.fairness import fairness_lines
from swin_unetr.study.results import Result
from swin_unetr.study.statistics import TEXTS, Gain, Level
from swin_unetr.words import decimal, interval


def print_study(report: StudyReport) -> None:
    """Print the tables, what holds for every arm, and what failed."""
    for table in study_tables(report):
        table.print()
    print("\n".join(fairness_lines(report.study, report.results)))
    if lines := failure_lines(report):
        print("\n".join(["failed:", *(f"  {line}" for line in lines)]))
    print(report.lead())


def markdown(report: StudyReport, provenance: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    parts = ["# Study", f"{report.lead()}.", "\n".join(f"- {line}" for line in _fair(report))]
    parts += [table.markdown() for table in study_tables(report)]
    parts += [table.markdown() for name in report.data if (table := structure_table(report, name)) is not None]
    if lines := failure_lines(report):
        parts += ["## Failed", "\n".join(f"- {line}" for line in lines)]
    parts += ["## How this was made", *TEXTS, f"Written {provenance['written']} by `{provenance['command']}`."]
    return "\n\n".join(parts) + "\n"


def study_tables(report: StudyReport) -> list[TextTable]:
    """For each data set the levels of the arms, then the differences from the baseline by metric."""
    tables = []
    for name in report.data:
        if any(level.data == name for level in report.levels):
            tables.append(_level_table(report, name))
            tables += [table for metric in report.metrics if (table := _gain_table(report, name, metric)) is not None]
    return tables


def failure_lines(report: StudyReport) -> list[str]:
    """One line per cell that failed, with the log that says more."""
    return [f"{cell}: {failure.cause} ({failure.log})" for cell, failure in report.failures.items()]


def structure_table(report: StudyReport, data: str) -> TextTable | None:
    """Dice of each structure; None where there is one structure only, or nothing is done."""
    names = report.structures(data)
    found = {
        (level.labels, level.arm, level.structure): level
        for level in report.levels
        if (level.data, level.metric) == (data, "dice")
    }
    if len(names) < 2 or not found:
        return None
    rows = [
        (_arm(report, arm, labels), *(decimal(found[labels, arm, name].mean) for name in names))
        for labels, arm in _kinds(report, data)
    ]
    return TextTable(f"{data}: Dice of each structure", ("arm", *names), tuple(rows))


def _level_table(report: StudyReport, data: str) -> TextTable:
    headings = ["arm", "seeds", *(part for metric in report.metrics for part in (metric.title, "95 %"))]
    rows = []
    for labels, arm in _kinds(report, data):
        results = [
            result
            for cell, result in report.results.items()
            if (cell.data, cell.arm, cell.labels) == (data, arm, labels)
        ]
        row = [_arm(report, arm, labels)]
        for metric in report.metrics:
            level = _level(report, data, arm, labels, metric)
            row += [str(len(level.seeds))] if metric is report.metrics[0] else []
            lost = f" ({level.infinite} × ∞)" if level.infinite else ""
            digits = _digits(metric)
            row += [decimal(level.mean, digits) + lost, interval(level.ci_low, level.ci_high, digits)]
        rows.append((*row, *_effort(results)))
    title = f"{data}: {report.test_cases(data)}, mean of structures"
    return TextTable(title, (*headings, "training cases", "steps", "minutes"), tuple(rows))


def _effort(results: Sequence[Result]) -> tuple[str, str, str]:
    """Training cases, steps and minutes of the trainings of an arm, from the least to the most."""
    steps = [result.steps for result in results if result.steps is not None]
    cases = [len(result.training) for result in results]
    minutes = [result.seconds / 60 for result in results]
    return _span(cases, "d"), _span(steps, "d"), _span(minutes, ".1f")


def _span(values: Sequence[float], form: str) -> str:
    if not values:
        return "–"
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


def _gain_table(report: StudyReport, data: str, metric: Metric) -> TextTable | None:
    found = [
        gain
        for gain in report.gains
        if (gain.data, gain.difference.metric, gain.difference.structure) == (data, metric.name, ALL_STRUCTURES)
    ]
    if not found:
        return None
    better = "higher" if metric.higher_is_better else "lower"
    title = f"{data}: {metric.title}, arm − {report.study.reference} ({better} is better)"
    headings = ("arm", "patients", "difference", "95 % CI over patients", "with other seeds", "won-tied-lost")
    order = {kind: index for index, kind in enumerate(_kinds(report, data))}
    found.sort(key=lambda gain: order[gain.labels, gain.arm])
    rows = tuple(_gain_row(report, gain, _digits(metric)) for gain in found)
    return TextTable(title, (*headings, "p", "p (Holm)", "by seed"), rows)


def _gain_row(report: StudyReport, gain: Gain, digits: int) -> tuple[str, ...]:
    item = gain.difference
    lost = f" (of {item.patients - item.infinite})" if item.infinite else ""
    return (
        _arm(report, gain.arm, gain.labels),
        str(item.patients),
        decimal(item.mean, digits, signed=True) + lost,
        interval(item.ci_low, item.ci_high, digits, signed=True),
        interval(gain.both_low, gain.both_high, digits, signed=True),
        f"{item.first_wins}-{item.ties}-{item.second_wins}",
        *(_p(item.p), _p(item.p_holm)),
        ", ".join(decimal(value, digits, signed=True) for value in gain.by_seed),
    )


def _kinds(report: StudyReport, data: str) -> list[tuple[float, str]]:
    """Shares and arms that something is done of: by the share, then in the study's order with the baseline first."""
    arms = sorted(report.study.arms, key=lambda arm: arm != report.study.reference)
    found = {(level.labels, level.arm) for level in report.levels if level.data == data}
    return sorted(found, key=lambda kind: (kind[0], arms.index(kind[1])))


def _level(report: StudyReport, data: str, arm: str, labels: float, metric: Metric) -> Level:
    wanted = (data, arm, labels, metric.name, ALL_STRUCTURES)
    return next(of for of in report.levels if (of.data, of.arm, of.labels, of.metric, of.structure) == wanted)


def _arm(report: StudyReport, arm: str, labels: float) -> str:
    several = len({cell.labels for cell in report.cells}) > 1
    return f"{arm}, {100 * labels:g} % of labels" if several else arm


def _fair(report: StudyReport) -> list[str]:
    return fairness_lines(report.study, report.results)


def _digits(metric: Metric) -> int:
    return 4 if metric.highest == 1 else 2


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.0001" if value < 0.0001 else f"{value:.4f}"
