"""Writes a comparison: JSON and tidy CSV for machines, Markdown and a page for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.bootstrap import METHOD, RESAMPLES
from swin_unetr.evaluation.comparison.inputs import Method
from swin_unetr.evaluation.comparison.paired import EXACT_UP_TO, Difference
from swin_unetr.evaluation.comparison.tables import (
    RESAMPLED,
    comparison_tables,
    counts_line,
    headline,
    lacking_lines,
    not_looked_for_lines,
    resampled_lines,
    too_few,
)
from swin_unetr.evaluation.comparison.values import Comparison
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.report.html_page import page
from swin_unetr.evaluation.report.results import ALL_STRUCTURES
from swin_unetr.evaluation.scoring import correct_rejection
from swin_unetr.files import keep_foreign, plain_json, write_json, write_text
from swin_unetr.provenance import written_by

_DIFFERENCES = (
    "Differences are first minus second, over the cases that count for the two: a structure that is in no mask "
    "is undefined and counted; where one of them invents it, the other is right (Dice 1, distance 0). The unit is the "
    "patient, with the mean of the scans. An infinite difference is in the median, the test and the counts, in no "
    "mean; how many are infinite, and for which method, is given beside the mean. "
    f"95 % CI: {METHOD}. p: Wilcoxon signed-rank, two-sided; "
    "differences below 1e-9 are zero, zeros are left out, equal sizes share the mean of their ranks; exact given the "
    f"ties up to {EXACT_UP_TO} differences that are not zero, normal with the variance corrected for ties above. Holm: "
    "over the structures and pairs of a metric; the mean of structures is a family of its own."
)
_RANKINGS = (
    "Every ranking averages ranks over structures and metrics; ties share the mean of their ranks, and a structure in "
    "no mask does not count. Ranks in every case, averaged: as BraTS. Ranks of the means over patients: as "
    "leaderboards by mean Dice; fewer infinite distances come first. Ranks by significant differences: how many "
    "others are worse by a one-sided Wilcoxon test at 5 % after Holm's correction, as the Medical Segmentation "
    "Decathlon. "
    f"Stability: share of {RESAMPLES} resamples of patients in which a method holds a place, and Kendall's tau-b "
    "between the ranking and those of the resamples (Wiesenfarth et al., Sci. Rep. 11:2369, 2021)."
)
_MISSING = {
    "worst": "A case that a method lacks has the worst rank there, and counts as the metric's value of failure in the "
    "means and tests of the rankings (0 for Dice); it is not in the paired differences. It is counted as lacking.",
    "common": "A case that some method lacks is not in any ranking or difference, and is counted as lacking.",
}


_FILES = ("compare.json", "compare.csv", "differences.csv", "compare.md", "compare.html")


def make_folder(path: Path) -> None:
    """Make the folder of the report before the work rather than after it.

    Raises:
        ConfigError: it cannot be made, or a file of the user would be replaced there.
    """
    keep_foreign(path, _FILES, record=_FILES[0], keys=("format", "provenance", "methods"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output: {path} cannot be made a folder ({error.strerror}); name another one") from error


def write_comparison(result: Comparison, methods: Mapping[str, Method], seed: int, folder: Path) -> None:
    """Write compare.json, compare.csv, differences.csv, compare.md and compare.html, each whole or not at all.

    Args:
        result: the comparison.
        methods: where each method comes from.
        seed: of the bootstrap.
        folder: takes the files.
    """
    values = _json(result, methods, seed)
    write_json(folder / "compare.json", values)
    write_text(folder / "compare.csv", _csv(_ROW, _rows(result)))
    columns = [field.name for field in fields(Difference)]
    write_text(folder / "differences.csv", _csv(columns, (list(asdict(item).values()) for item in result.differences)))
    write_text(folder / "compare.md", _markdown(result, methods, values))
    data = {
        **values,
        "lead": " ".join([headline(result), counts_line(result), *not_looked_for_lines(result)]),
        "too_few": too_few(result),
        "all_structures": ALL_STRUCTURES,
        "command": values["provenance"]["command"],
        "texts": [_DIFFERENCES, _RANKINGS, _MISSING[result.missing]],
    }
    text = page("Comparison of segmentations", "compare.html", "compare.js", data, scoring=True)
    write_text(folder / "compare.html", text)


def _json(result: Comparison, methods: Mapping[str, Method], seed: int) -> dict[str, Any]:
    return {
        "format": 1,
        "provenance": written_by(),
        "methods": list(result.methods),
        "sources": {name: {"path": str(method.path.absolute()), **method.inputs} for name, method in methods.items()},
        "policy": {**next(iter(methods.values())).policy, "missing": result.missing},
        "seed": seed,
        "metrics": [_described(metric) for metric in result.metrics],
        "structures": list(result.structures),
        "cases": list(result.cases),
        "common": list(result.common),
        "ranked": list(result.ranked),
        "ranked_by": list(result.ranked_by),
        "patients": dict(result.patients),
        "lacking": {
            name: [{"case": case, "message": message} for case, message in of.items()]
            for name, of in result.lacking.items()
        },
        "resampled": {name: dict(method.resampled) for name, method in methods.items()},
        "not_looked_for": dict(result.not_looked_for),
        "rankings": [asdict(ranking) for ranking in result.rankings],
        "differences": [asdict(item) for item in result.differences],
        "values": {
            metric: {
                structure: {
                    name: [float(value) for value in table[index, :, column]]
                    for index, name in enumerate(result.methods)
                }
                for column, structure in enumerate(result.structures)
            }
            for metric, table in result.values.items()
        },
        "sha256": {name: {case: dict(of) for case, of in method.sha256.items()} for name, method in methods.items()},
    }


def _described(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "title": metric.title,
        "higher_is_better": metric.higher_is_better,
        "correct_rejection": correct_rejection(higher_is_better=metric.higher_is_better),
        "digits": 4 if math.isfinite(metric.highest) else 3,
        "definition": metric.definition,
    }


_ROW = ("case", "structure", "metric", "method", "value", "status", "rank", "patient")


def _rows(result: Comparison) -> Iterator[Sequence[Any]]:
    """One row per case, structure, metric and method."""
    for case_index, case in enumerate(result.cases):
        for column, structure in enumerate(result.structures):
            for metric, table in result.values.items():
                for index, name in enumerate(result.methods):
                    value, rank = (
                        float(table[index, case_index, column]),
                        result.ranks[metric][index, case_index, column],
                    )
                    status = "evaluated" if not math.isnan(value) else "undefined"
                    status = "lacking" if case in result.lacking[name] else status
                    status = "not_looked_for" if (case, structure) in result.left_out else status
                    yield case, structure, metric, name, value, status, float(rank), result.patients.get(case)


def _csv(columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if value is None else value for value in plain_json(list(row))] for row in rows)
    return text.getvalue()


def _markdown(result: Comparison, methods: Mapping[str, Method], values: Mapping[str, Any]) -> str:
    parts = ["# Comparison", f"{headline(result)} {counts_line(result)}", *filter(None, [too_few(result)])]
    parts += [table.markdown() for table in comparison_tables(result, result.metrics)]
    if lines := lacking_lines(result):
        parts += ["## Cases that a method lacks", "\n".join(f"- {line}" for line in lines)]
    if lines := not_looked_for_lines(result):
        parts += ["## Structures that were not looked for", "\n".join(f"- {line}" for line in lines)]
    if lines := resampled_lines(methods):
        parts += [f"## Predictions {RESAMPLED}", "\n".join(f"- {line}" for line in lines)]
    parts += ["## How this was made", _DIFFERENCES, _RANKINGS, _MISSING[result.missing]]
    parts.append("All rules: [How cases are scored](compare.html#scoring).")
    parts.append("\n".join(f"- {name}: `{source['path']}`" for name, source in values["sources"].items()))
    provenance = values["provenance"]
    parts.append(f"Seed {values['seed']}, written {provenance['written']} by `{provenance['command']}`.")
    return "\n\n".join(parts) + "\n"
