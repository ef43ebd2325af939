"""Writes a result: JSON and tidy CSV for machines, Markdown and a page for people."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from swin_unetr.config_io import to_dict
from swin_unetr.evaluation.bootstrap import METHOD
from swin_unetr.evaluation.lesions.cases import is_brats
from swin_unetr.evaluation.report.brats_table import brats_csv
from swin_unetr.evaluation.report.html_report import HTML_NAME, report_page
from swin_unetr.evaluation.report.results import ALL_STRUCTURES, EvaluationResult, Row
from swin_unetr.evaluation.report.tables import summary_tables, worst_cases
from swin_unetr.evaluation.report.trust import trust_report
from swin_unetr.evaluation.wording import scans_of_patients
from swin_unetr.files import write_json, write_text
from swin_unetr.provenance import written_by
from swin_unetr.tasks import Task

#: Version of the form of results.json.
FORMAT = 1

#: File names in the folder of a report.
JSON_NAME, CSV_NAME, MARKDOWN_NAME = "results.json", "results.csv", "report.md"
#: For BraTS: the columns of the official evaluation.
BRATS_NAME = "brats.csv"

#: All of them, and keys of the first by which it is recognised as ours.
REPORT_FILES = (JSON_NAME, CSV_NAME, MARKDOWN_NAME, HTML_NAME, BRATS_NAME)
REPORT_KEYS = ("format", "provenance", "policy")

#: Cases with pictures on the page, by default.
PICTURES = 20

_POLICIES = {
    "nan": "A structure that is in neither mask has no Dice; it is left out of the mean and counted (policy `nan`).",
    "brats": "A structure that is in neither mask has a Dice of 1 (policy `brats`).",
}
_NOT_LOOKED_FOR = (
    "A structure that was not looked for in the reference of a case is not evaluated there, whatever is predicted; "
    "such cases are counted."
)
_DEFINITIONS = (
    f"*{ALL_STRUCTURES}* averages the structures of each case that have a value, and then the cases. Means are over "
    "patients, each with the mean of the scans; SD is the sample standard deviation over the scans. "
    f"CI: {METHOD}. Infinite distances are counted beside the mean, which leaves them out; median and quartiles have "
    "them."
)
#: Where a reader finds all of it.
_WHERE = f"All rules: [How cases are scored]({HTML_NAME}#scoring)."


def write_report(result: EvaluationResult, folder: Path, pictures: int = PICTURES) -> tuple[Path, ...]:
    """Write results.json, results.csv, report.md and report.html, each whole or not at all; gives their paths.

    For BraTS with lesions there is brats.csv too.

    Args:
        result: the evaluation.
        folder: takes the files.
        pictures: how many cases, the worst first, the page shows pictures of.
    """
    provenance = written_by()
    paths = tuple(folder / name for name in (JSON_NAME, CSV_NAME, MARKDOWN_NAME, HTML_NAME))
    values = _json(result, provenance)
    write_json(paths[0], values)
    write_text(paths[1], _csv(result.rows))
    write_text(paths[2], _markdown(result, provenance["written"]))
    texts = {
        "policy": _policy(result),
        "definitions": _DEFINITIONS.replace("*", ""),
        "command": values["provenance"]["command"],
    }
    write_text(paths[3], report_page(result, values, texts, pictures))
    return (*paths, *_write_brats(result, folder / BRATS_NAME))


def _write_brats(result: EvaluationResult, path: Path) -> tuple[Path, ...]:
    """The official columns, where the task is BraTS and lesions were asked for; no file of an earlier report stays."""
    if result.lesion_rules is None or not is_brats(result.reference_task):
        path.unlink(missing_ok=True)
        return ()
    official = {
        case: {name: of.official for name, of in structures.items() if of.official is not None}
        for case, structures in result.lesions.items()
    }
    failed = [failure.case for failure in result.failures]
    write_text(path, brats_csv(official, failed, result.lesion_rules))
    return (path,)


def _json(result: EvaluationResult, provenance: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "provenance": provenance,
        "inputs": dict(result.inputs),
        "policy": {
            "empty": result.empty,
            "distances": asdict(result.distances),
            "lesions": None if result.lesion_rules is None else asdict(result.lesion_rules),
        },
        "prediction_task": to_dict(result.prediction_task),
        "reference_task": to_dict(result.reference_task),
        "cases": {"evaluated": list(result.evaluated), "failed": [asdict(failure) for failure in result.failures]},
        "patients": dict(result.patients),
        "notes": list(result.notes),
        "files": {case: dict(files) for case, files in result.files.items()},
        "sha256": {case: dict(hashes) for case, hashes in result.sha256.items()},
        "resampled": dict(result.resampled),
        "not_looked_for": {case: list(names) for case, names in result.not_looked_for.items()},
        "summary": [asdict(summary) for summary in result.summary],
        "rows": [asdict(row) for row in result.rows],
        "lesions": _lesions(result),
        **({"trust": trust} if (trust := trust_report(result)) is not None else {}),
    }


def _lesions(result: EvaluationResult) -> list[dict[str, Any]]:
    """One row per lesion."""
    return [
        {"case": case, "structure": structure, **asdict(lesion)}
        for case, structures in result.lesions.items()
        for structure, of in structures.items()
        for lesion in of.scores.lesions
    ]


def _policy(result: EvaluationResult) -> str:
    """What was done about empty masks, and which tolerances hold."""
    surface = any(metric.kind == "surface" for metric in result.metrics)
    words = [_POLICIES[result.empty]]
    if surface:
        words.append(result.distances.in_words())
    if result.lesion_rules is not None:
        words.append(result.lesion_rules.in_words())
    if result.not_looked_for:
        words.append(_NOT_LOOKED_FOR)
    return " ".join(words)


def _csv(rows: tuple[Row, ...]) -> str:
    """One line per case, structure and metric; what has no value is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if _missing(value) else value for key, value in asdict(row).items()})
    return text.getvalue()


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _markdown(result: EvaluationResult, written: str) -> str:
    failed = len(result.failures)
    number = scans_of_patients(len(result.evaluated), result.number_of_patients)
    parts = ["# Evaluation", f"{number} evaluated, {failed} failed."]
    if failed:
        parts.append(
            "*mean* is over the evaluated cases only; *failed as* counts every failed case with the value named there."
        )
    parts += [table.markdown() for table in summary_tables(result)]
    parts.append(f"{_policy(result)} {_DEFINITIONS} {_WHERE}")
    parts += _section("Worst cases", worst_cases(result))
    parts += _section("Failed", [f"{failure.case}: {failure.message}" for failure in result.failures])
    parts += _section("Notes", list(result.notes))
    parts += _section(
        "What was evaluated",
        [
            *(f"{key}: {_input(value)}" for key, value in result.inputs.items() if value is not None),
            f"labels of the predictions: {_labels(result.prediction_task)}",
            f"labels of the references: {_labels(result.reference_task)}",
            f"written {written} by swin-unetr {version('swin-unetr')}",
        ],
    )
    return "\n\n".join(parts) + "\n"


def _section(heading: str, lines: list[str]) -> list[str]:
    return [f"## {heading}", "\n".join(f"- {line}" for line in lines)] if lines else []


def _input(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else f"`{value}`"


def _labels(task: Task) -> str:
    """The task's name and the label values of each structure."""
    structures = (f"{target.name} {'+'.join(map(str, target.labels))}" for target in task.targets)
    return f"{task.name} ({', '.join(structures)})"
