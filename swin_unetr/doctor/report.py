"""Writes a diagnosis: JSON for machines, one page for people, and the survey for `plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swin_unetr.doctor.diagnosis import Diagnosis
from swin_unetr.doctor.findings import KINDS
from swin_unetr.doctor.overview import StructureRow, channels, grids, structures
from swin_unetr.doctor.terminal import below, machine_lines, verdict
from swin_unetr.errors import DataError
from swin_unetr.evaluation.report.html_page import page
from swin_unetr.files import keep_foreign, write_json, write_text
from swin_unetr.survey.facts import CaseFacts, Survey
from swin_unetr.survey.survey_file import SURVEY_NAME, read_survey, write_survey

JSON_NAME, HTML_NAME = "diagnosis.json", "doctor.html"


def write_diagnosis(diagnosis: Diagnosis, folder: Path) -> tuple[Path, Path, Path]:
    """Write diagnosis.json, doctor.html and survey.json, each whole or not at all; gives their paths."""
    paths = folder / JSON_NAME, folder / HTML_NAME, folder / SURVEY_NAME
    values = diagnosis.to_json()
    write_json(paths[0], values)
    write_text(paths[1], page("Doctor", "doctor.html", "doctor.js", _page_data(diagnosis, values), "swin_unetr.doctor"))
    write_survey(diagnosis.survey, paths[2])
    return paths


def keep_files_of_user(folder: Path) -> None:
    """Refuse a folder in which a file that the doctor did not write would be replaced.

    Raises:
        ConfigError: names it.
    """
    keep_foreign(folder, (JSON_NAME, HTML_NAME, SURVEY_NAME), record=JSON_NAME, keys=("format", "provenance"))


def earlier_survey(folder: Path) -> Survey | None:
    """The survey that an earlier run left in a folder; None if it is missing or cannot be read."""
    try:
        return read_survey(folder / SURVEY_NAME)
    except DataError:
        return None


def _page_data(diagnosis: Diagnosis, values: dict[str, Any]) -> dict[str, Any]:
    survey = diagnosis.survey
    rows = structures(survey)
    return {
        "lead": f"{diagnosis.dataset.summary().splitlines()[0]}. {verdict(diagnosis).capitalize()}.",
        "notes": values["notes"],
        "kinds": {code: [kind.severity, kind.title, kind.remedy] for code, kind in KINDS.items()},
        "findings": [
            {**of, "file": None if of["file"] is None else below(Path(of["file"]), survey.root)}
            for of in values["findings"]
        ],
        "grids": grids(survey),
        "structures": [
            {
                **{"name": row.name, "values": row.values, "spread": row.spread},
                "looked_for": row.looked_for if survey.labelled else None,
            }
            for row in rows
        ],
        "channels": [_channel(row.name, row.all, row.foreground) for row in channels(survey)],
        "cases": [_case(case, rows) for case in survey.cases],
        "machine": [] if diagnosis.machine is None else machine_lines(diagnosis.machine),
        "command": values["provenance"]["command"],
        "provenance": values["provenance"],
    }


def _channel(name: str, every: Any, inside: Any) -> dict[str, Any]:
    return {
        "name": name,
        "all": [every.low, *every.percentiles, every.high, every.mean, every.std],
        "foreground": None if inside is None else [*inside.percentiles],
    }


def _case(case: CaseFacts, rows: tuple[StructureRow, ...]) -> dict[str, Any]:
    image = case.images[0] if case.images else None
    first = case.channels[0].all if case.channels else None
    return {
        "id": case.id,
        "group": case.group,
        "shape": None if image is None else image.shape,
        "spacing": None if image is None else image.spacing_mm,
        "orientation": None if image is None else image.orientation,
        "kind": None if image is None else f"{image.kind}, {image.dtype}",
        "channels": len(case.channels),
        "percentiles": None if first is None else first.percentiles,
        "volumes": [row.volumes_ml.get(case.id) for row in rows] if case.label is not None else None,
    }
