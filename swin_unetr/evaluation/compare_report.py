"""Writes a comparison: JSON and CSV for machines, Markdown and a page for people."""

from __future__ import annotations

import csv
import io
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from swin_unetr.evaluation.bootstrap import RESAMPLES
from swin_unetr.evaluation.compare import Comparison, Difference
from swin_unetr.evaluation.html_page import page
from swin_unetr.evaluation.tables import TextTable
from swin_unetr.files import plain_json, write_json, write_text
from swin_unetr.provenance import commit, versions

METHOD = (
    "Differences are first minus second, in the cases in which both have a value; 95 % CI: BCa bootstrap over cases "
    f"({RESAMPLES} resamples); p: Wilcoxon signed-rank, two-sided; Holm: over the structures and pairs of a metric. "
    "Ranks are given per case, structure and metric and averaged, ties share a rank; a structure in neither mask ranks "
    "with the best. Stability: share of the resamples of cases in which a method holds the place."
)


def write_comparison(result: Comparison, sources: Mapping[str, str], inputs: Mapping[str, Any], folder: Path) -> None:
    """Write compare.json, compare.csv, compare.md and compare.html.

    Args:
        result: the comparison.
        sources: path of every method.
        inputs: arguments worth recording.
        folder: takes the files.
    """
    values = {
        "format": 1,
        "provenance": {
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "commit": commit(),
        },
        "command": shlex.join(sys.argv),
        "sources": dict(sources),
        "inputs": dict(inputs),
        "method": METHOD,
        **asdict(result),
    }
    write_json(folder / "compare.json", values)
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Difference)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in plain_json(asdict(item)).items()}
                     for item in result.differences)  # fmt: skip
    write_text(folder / "compare.csv", text.getvalue())
    tables = "\n\n".join(table.markdown() for table in comparison_tables(result))
    write_text(folder / "compare.md", f"# Comparison\n\n{summary_line(result)}\n\n{tables}\n\n{METHOD}\n")
    data = {**values, "lead": summary_line(result)}
    write_text(folder / "compare.html", page("Comparison of segmentations", "compare.html", "compare.js", data))


def summary_line(result: Comparison) -> str:
    """How many cases there are, and which are not in it."""
    line = f"{len(result.methods)} methods on the {len(result.cases)} cases that all have."
    if result.left_out:
        lacks = "; ".join(f"{case} ({', '.join(names)})" for case, names in result.left_out.items())
        line += f" {len(result.left_out)} cases left out, which some method lacks: {lacks}."
    return line


def comparison_tables(result: Comparison) -> list[TextTable]:
    """The ranking, and the differences."""
    places = [f"place {place + 1}" for place in range(len(result.methods))]
    ranking = TextTable(
        f"Ranking by {', '.join(result.ranked_by)}",
        ("method", "place", "mean rank", *places),
        tuple(
            (item.method, str(item.place), f"{item.mean_rank:.3f}", *(f"{share:.1%}" for share in item.stability))
            for item in result.ranking
        ),
    )
    headings = (
        "structure",
        "metric",
        "first",
        "second",
        "pairs",
        "difference",
        "95 % CI",
        "won-tied-lost",
        "p",
        "Holm",
    )
    rows = tuple(
        (
            *(item.structure, item.metric, item.first, item.second, str(item.pairs)),
            f"{item.mean:+.4f}",
            f"{item.ci_low:+.4f} to {item.ci_high:+.4f}",
            f"{item.first_wins}-{item.ties}-{item.second_wins}",
            f"{item.p:.2g}",
            f"{item.p_holm:.2g}",
        )
        for item in result.differences
    )
    return [ranking, TextTable("Paired differences", headings, rows)]
