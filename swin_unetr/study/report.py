"""Writes what is done of a study: JSON and tidy CSV for machines, Markdown and a page for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swin_unetr.config_io import to_dict
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.report.html_page import page
from swin_unetr.evaluation.report.results import ALL_STRUCTURES
from swin_unetr.files import plain_json, write_json, write_text
from swin_unetr.provenance import written_by
from swin_unetr.study.cells import Cell
from swin_unetr.study.collect import StudyReport
from swin_unetr.study.fairness import fairness_lines
from swin_unetr.study.progress import mean_dice
from swin_unetr.study.statistics import TEXTS
from swin_unetr.study.tables import markdown

JSON = "study.json"
FILES = (JSON, "study.csv", "study.md", "study.html")
#: What a study.json of ours has.
KEYS = ("format", "provenance", "study", "cells")


def write_report(report: StudyReport, output: Path) -> None:
    """Write study.json, study.csv, study.md and study.html, each whole or not at all."""
    values: dict[str, Any] = {
        "format": 1,
        "provenance": written_by(),
        "study": to_dict(report.study),
        "baseline": report.study.reference,
        "data": {
            name: {
                "folder": str(of.root.absolute()),
                "structures": report.structures(name),
                "test_cases": report.test_cases(name),
                "patients": of.patients,
            }
            for name, of in report.data.items()
        },
        "cells": [_of_cell(report, cell) for cell in report.cells],
        "fairness": fairness_lines(report.study, report.results),
        "levels": [asdict(of) for of in report.levels],
        "gains": [asdict(of) for of in report.gains],
    }
    write_json(output / JSON, values)
    write_text(output / "study.csv", _csv(report))
    write_text(output / "study.md", markdown(report, values["provenance"]))
    shown = {
        **values,
        "lead": f"{report.lead()}.",
        "all_structures": ALL_STRUCTURES,
        "metrics": [_described(metric, report.study.tolerance_mm) for metric in report.metrics],
        "texts": TEXTS,
        "command": values["provenance"]["command"],
    }
    write_text(output / "study.html", page("Study", "study.html", "study.js", shown, "swin_unetr.study", scoring=True))


def _of_cell(report: StudyReport, cell: Cell) -> dict[str, Any]:
    result, failure = report.results.get(cell), report.failures.get(cell)
    values: dict[str, Any] = {**asdict(cell), "id": cell.id, "status": "not done"}
    if result is not None:
        known = asdict(result)
        values |= {"status": "done", "dice": mean_dice(result), **{key: known[key] for key in known if key != "values"}}
    elif failure is not None:
        values |= {"status": "failed", **asdict(failure)}
    return values


def _described(metric: Metric, tolerance_mm: float) -> dict[str, Any]:
    bounded = metric.highest == 1
    definition = f"{metric.definition}; tolerance {tolerance_mm:g} mm" if metric.name == "nsd" else metric.definition
    return {
        "name": metric.name,
        "title": metric.title,
        "higher_is_better": metric.higher_is_better,
        "digits": 4 if bounded else 2,
        "highest": 1 if bounded else None,
        "definition": definition,
    }


def _csv(report: StudyReport) -> str:
    """One row per cell, case, structure and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "arm", "fold", "seed", "labels", "case", "patient", "structure", "metric", "value"])
    writer.writerows(["" if value is None else value for value in plain_json(list(row))] for row in _rows(report))
    return text.getvalue()


def _rows(report: StudyReport) -> Iterator[Sequence[Any]]:
    for cell, result in report.results.items():
        patients = report.data[cell.data].patients
        for metric, cases in result.values.items():
            for case, structures in sorted(cases.items()):
                for name, value in structures.items():
                    kind = (cell.data, cell.arm, cell.fold, cell.seed, cell.labels)
                    yield *kind, case, patients.get(case), name, metric, value
