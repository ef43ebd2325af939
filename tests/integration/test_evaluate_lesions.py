"""`evaluate` with lesions, on files: the report, brats.csv, other tasks, and the official package where it is."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swin_unetr.cli import main
from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.run import evaluate
from transforms.geometry import Geometry
from transforms.io import write_labels

ROOT = Path(__file__).parents[2]


def write(path, *cubes, spacing=(1.0, 1.0, 1.0)):
    """Cubes (x, y, z, size, label)."""
    labels = np.zeros((40, 32, 24), dtype=np.uint8)
    for x, y, z, size, value in cubes:
        labels[x : x + size, y : y + size, z : z + size] = value
    path.parent.mkdir(exist_ok=True)
    write_labels(path, labels, like=Geometry(shape=labels.shape, affine=np.diag((*spacing, 1.0))))


@pytest.fixture
def folders(tmp_path):
    """Case a: one lesion found, one missed, one invented. Case b has no prediction."""
    found, missed, invented = (4, 4, 4, 6, 3), (30, 4, 4, 5, 3), (4, 20, 14, 4, 3)
    write(tmp_path / "predictions" / "a.nii.gz", found, invented)
    write(tmp_path / "references" / "a.nii.gz", found, missed)
    write(tmp_path / "references" / "b.nii.gz", missed)
    return tmp_path / "predictions", tmp_path / "references", tmp_path / "report"


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def values_of(result, structure="ET"):
    return {row.metric: row.value for row in result.rows if (row.case, row.structure) == ("a", structure)}


def test_brats_has_lesions_and_the_official_columns_unasked(folders):
    predictions, references, report = folders
    result = evaluate(predictions, references, task="brats2023", output=report, pictures=0)
    values = values_of(result)
    assert [values[name] for name in ("lesions_found", "lesions_missed", "lesions_invented")] == [1, 1, 1]
    assert (values["lesion_dice"], values["lesion_hd95_mm"], values["lesion_nsd"]) == (1, 0, 1)

    first, second = rows_of(report / "brats.csv")
    assert (first["subject_id"], second["subject_id"]) == ("a", "b")
    assert float(first["all_instance_prec_et"]) == float(first["all_instance_f1_wt"]) == 0.5
    # The whole region: 216 of 341 voxels of the reference, 64 too many.
    assert float(first["global_dsc_tc"]) == pytest.approx(2 * 216 / (216 + 64 + 216 + 125))
    # What the package gives a case without a prediction.
    assert (float(second["lesionwise_dsc_mean_et"]), float(second["global_hd95_et"])) == (0, 373)

    saved = json.loads((report / "results.json").read_text())
    assert saved["policy"]["lesions"]["name"] == "brats2025"
    of_et = [lesion for lesion in saved["lesions"] if lesion["structure"] == "ET"]
    assert [lesion["status"] for lesion in of_et] == ["found", "missed", "invented"]
    assert [lesion["reference_ml"] for lesion in of_et] == pytest.approx([0.216, 0.125, 0])
    assert of_et[1]["centre_mm"] == [32, 6, 6]
    assert "brats2025" in (report / "report.md").read_text()


def test_rules_of_another_year_and_their_columns(folders):
    predictions, references, report = folders
    result = evaluate(predictions, references, task="brats", lesions="brats2023", output=report, pictures=0)
    assert values_of(result)["lesion_dice"] == pytest.approx(1 / 3)
    assert values_of(result)["lesion_hd95_mm"] == pytest.approx(2 * 374 / 3)
    assert "lesion_nsd" not in values_of(result)  # not of that year
    first, second = rows_of(report / "brats.csv")
    assert float(first["LesionWise_Dice_ET"]) == pytest.approx(1 / 3)
    assert [float(first[f"Num_{name}_WT"]) for name in ("TP", "FP", "FN")] == [1, 1, 1]
    assert second["LesionWise_Dice_ET"] == ""
    # A failed case has the penalty in the mean that counts failures.
    summary = result.summary_of("ET", "lesion_hd95_mm")
    assert summary.mean_with_failures == pytest.approx((2 * 374 / 3 + 374) / 2)


def test_no_lesions_when_not_wanted(folders):
    predictions, references, report = folders
    evaluate(predictions, references, task="brats2023", output=report, pictures=0)
    for options in ({"lesions": "none"}, {"metrics": ["dice"]}):
        result = evaluate(predictions, references, task="brats2023", output=report, pictures=0, **options)
        assert not [row for row in result.rows if row.metric.startswith("lesion")]
        assert not (report / "brats.csv").exists()  # nor that of the report before


def test_any_structures_by_their_components(tmp_path):
    write(tmp_path / "p" / "a.nii.gz", (4, 4, 4, 3, 1), (20, 20, 4, 4, 2))
    write(tmp_path / "r" / "a.nii.gz", (4, 4, 4, 3, 1), (14, 4, 4, 3, 1), (20, 20, 4, 4, 2))
    result = evaluate(tmp_path / "p", tmp_path / "r", task={"cyst": 1, "node": 2}, lesions="components")
    assert values_of(result, "cyst")["lesions_missed"] == 1
    assert values_of(result, "node")["lesions_missed"] == 0
    assert values_of(result, "cyst")["lesion_dice"] == 1
    plain = evaluate(tmp_path / "p", tmp_path / "r", task={"cyst": 1, "node": 2})
    assert plain.lesion_rules is None
    assert "lesions_missed" not in values_of(plain, "cyst")


def test_volumes_are_of_the_spacing(tmp_path):
    # 27 voxels are 54 mm³ here, more than the 50 that are passed over.
    for side in ("p", "r"):
        write(tmp_path / side / "a.nii.gz", (4, 4, 4, 3, 3), spacing=(1.0, 1.0, 2.0))
    result = evaluate(tmp_path / "p", tmp_path / "r", task="brats2023", lesions="brats2023")
    assert values_of(result)["lesions_found"] == 1
    assert result.lesions["a"]["ET"].scores.lesions[0].reference_ml == pytest.approx(0.054)


def test_wrong_rules_and_missing_rules_are_one_line(folders, capsys):
    predictions, references, report = folders
    with pytest.raises(ConfigError, match=r"lesions: 'brats2022' is not one of brats2023, .*, none"):
        evaluate(predictions, references, task="brats2023", lesions="brats2022")
    arguments = ["evaluate", str(predictions), str(references), "--output", str(report), "--labels", "a=3"]
    assert main([*arguments, "--metrics", "lesion_dice"]) == 2
    assert "lesions: metrics of lesions need rules; give --lesions" in capsys.readouterr().err
    assert main([*arguments, "--lesions", "components", "--cases", "a"]) == 0
    assert "lesions_invented" in (report / "results.csv").read_text()


@pytest.mark.oracle
@pytest.mark.skipif("SWIN_UNETR_BRATS_ORACLE" not in os.environ, reason="SWIN_UNETR_BRATS_ORACLE names no environment")
@pytest.mark.parametrize("given", [[], ["--files"]])
def test_the_official_package_says_the_same(given, test_data):
    script = ROOT / "scripts" / "check" / "brats_oracle.py"
    done = subprocess.run(
        [sys.executable, str(script), "--data", str(test_data), *given], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
