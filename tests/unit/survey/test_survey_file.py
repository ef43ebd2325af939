"""A survey is the same after it went through its file; what is no survey is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from surveys import case, fit, image, intensities, survey_of

from swin_unetr.errors import DataError
from swin_unetr.survey.facts import NoteFacts, Problem
from swin_unetr.survey.survey_file import FORMAT, read_survey, write_survey
from swin_unetr.tasks import brats

FULL = survey_of(
    case(0, {1: 2.5, 4: 0.125}, fit=fit(outside_body=None), sample=((1.0, -2.5), (0.0, 1e-7))),
    case(
        1,
        images=(
            image(
                "ä b.nii",
                intensities(-math.inf, 3e38),
                notes=(NoteFacts(code="units", path=Path("ä b.nii"), words="in metres"),),
            ),
        ),
        problems=(Problem(code="missing", path=Path("gone.nii"), words="no such file"),),
        group="patient 7",
    ),
    task=brats("brats2023"),
)


@pytest.mark.parametrize("survey", [FULL, survey_of(), replace(FULL, task=None)], ids=["full", "empty", "no task"])
def test_round_trip(tmp_path: Path, survey) -> None:
    write_survey(survey, tmp_path / "survey.json")
    again = read_survey(tmp_path / "survey.json")
    assert again == survey
    assert all(isinstance(key, int) for of in again.cases for channel in of.channels for key in channel.mean_of_label)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values | {"format": FORMAT + 1},
        lambda values: {key: of for key, of in values.items() if key != "format"},
        lambda values: values | {"cases": [{"id": "a"}]},
        lambda values: values | {"colour": "red"},
        lambda values: [values],
        lambda values: None,
    ],
    ids=["another version", "no version", "half a case", "unknown field", "a list", "null"],
)
def test_what_is_no_survey(tmp_path: Path, spoil) -> None:
    path = tmp_path / "survey.json"
    write_survey(FULL, path)
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(DataError, match=r"survey\.json: is no survey of this version .*; run .* doctor .* again"):
        read_survey(path)


def test_a_survey_that_is_not_there_or_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    with pytest.raises(DataError, match=r"survey\.json: cannot be read"):
        read_survey(path)
    write_survey(FULL, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="is no survey"):
        read_survey(path)
