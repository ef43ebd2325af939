"""Official BraTS numbers of made and of real label maps, kept by scripts/check/brats_oracle.py --golden."""

from __future__ import annotations

import importlib.util
import json
import math
from itertools import compress
from pathlib import Path

import pytest

from swin_unetr.evaluation.lesions.cases import lesions_of_case
from swin_unetr.evaluation.lesions.rules import LESION_RULES
from swin_unetr.evaluation.report.brats_table import brats_csv
from swin_unetr.tasks import brats

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((Path(__file__).parent / "brats_official.json").read_text())
TASK = brats("brats2023")
#: Columns that the scripts of 2024 compute of arrays of lesion numbers instead of masks, by mistake.
MISTAKEN = {"brats2024": ("Sensitivity_", "Specificity_", "Hausdorff95_")}


def brats_cases():
    """The module of the script that asked the oracle, so that both see the same label maps."""
    spec = importlib.util.spec_from_file_location("brats_cases", ROOT / "scripts" / "check" / "brats_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_official(rules, cases):
    columns, known = GOLDEN[rules]["columns"], GOLDEN[rules]["cases"]
    measured = {}
    for case in cases:
        found = lesions_of_case(case.prediction, case.reference, case.affine, (TASK, TASK), LESION_RULES[rules])
        measured[case.name] = {name: lesions.official for name, lesions in found.items()}
    header, *lines = brats_csv(measured, [], LESION_RULES[rules]).splitlines()
    assert header.split(",")[1:] == columns
    assert len(lines) == len(measured) > 0
    for line in lines:
        name, *cells = line.split(",")
        values = [float(cell) if cell else math.nan for cell in cells]
        official = [math.nan if value is None else value for value in known[name]]
        kept = [not column.startswith(MISTAKEN.get(rules, ("none",))) for column in columns]
        ours, theirs = (dict(compress(zip(columns, of, strict=True), kept)) for of in (values, official))
        assert ours == pytest.approx(theirs, abs=1e-6, rel=1e-9, nan_ok=True), name


@pytest.mark.parametrize("rules", GOLDEN)
def test_made_cases(rules):
    assert_official(rules, brats_cases().made_cases())


@pytest.mark.parametrize("rules", ["brats2023", "brats2025"])
def test_real_cases_disturbed(rules, test_data):
    cases = list(brats_cases().real_cases(test_data))
    # Every disturbance of one patient, and the two that turn most on lesions of all of them.
    assert_official(
        rules,
        [case for case in cases if "pat0001" in case.name or case.name.endswith(("shifted", "lesions_added"))],
    )
