"""The command `swin-unetr evaluate` on files, good and bad."""

import csv
import json
import math
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from swin_unetr import evaluate
from swin_unetr.cli import main
from swin_unetr.config_io import to_dict
from swin_unetr.datasets.folds import Folds
from swin_unetr.tasks import BTCV

LABELS = ("--labels", "liver=1", "spleen=2")
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])  # 6 mm³


def reference_labels():
    """8 voxels of liver, 4 of spleen."""
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:3, 1:3, 1:3] = 1
    labels[4, 4:6, 4:6] = 2
    return labels


def predicted_labels():
    """Liver: 4 of 8 voxels hit, none invented: 2*4/12. Spleen: all hit."""
    labels = reference_labels()
    labels[1, 1:3, 1:3] = 0
    return labels


def save(path, labels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, affine), path)
    return path


@pytest.fixture
def folders(tmp_path):
    """Three cases: a and b are predicted alike, c perfectly."""
    for case in "abc":
        save(tmp_path / "ref" / f"{case}.nii.gz", reference_labels())
        save(tmp_path / "pred" / f"{case}.nii.gz", reference_labels() if case == "c" else predicted_labels())
    return tmp_path


def run(folders, *arguments, labels=LABELS):
    paths = [str(folders / "pred"), str(folders / "ref")]
    output = ["--output", str(folders / "out")]
    return main(["evaluate", *paths, "--metrics", "dice", *output, *labels, *arguments])


def results(folders):
    return json.loads((folders / "out" / "results.json").read_text())


def summary_of(folders, structure):
    return next(summary for summary in results(folders)["summary"] if summary["structure"] == structure)


def test_report_of_three_cases(folders, capsys):
    assert run(folders) == 0
    liver = summary_of(folders, "liver")
    assert liver["mean"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert liver["worst"] == [["a", 2 / 3], ["b", 2 / 3], ["c", 1.0]]
    assert summary_of(folders, "mean of structures")["mean"] == pytest.approx((5 / 6 + 5 / 6 + 1) / 3)

    rows = list(csv.DictReader((folders / "out" / "results.csv").open()))
    assert [(row["case"], row["structure"], row["metric"]) for row in rows] == [
        (case, structure, "dice") for case in "abc" for structure in ("liver", "spleen")
    ]
    assert (rows[0]["reference_voxels"], rows[0]["predicted_voxels"]) == ("8", "4")
    assert float(rows[0]["reference_ml"]) == pytest.approx(0.048)
    assert float(rows[0]["predicted_ml"]) == pytest.approx(0.024)

    markdown = (folders / "out" / "report.md").read_text()
    assert "3 cases evaluated, 0 failed." in markdown
    assert "| liver | 0.7778 | 0.300–1.000 | 0.1925 | 0.6667 | 0.667–0.833 | 0.6667 | 3 | 0 |" in markdown
    printed = capsys.readouterr().out
    assert "0.7778" in printed
    assert "mean of structures" in printed
    assert str(folders / "out" / "report.md") in printed


def test_structures_in_neither_mask_are_counted(folders, capsys):
    for side in ("pred", "ref"):
        save(folders / side / "d.nii.gz", np.where(reference_labels() == 2, 2, 0).astype(np.uint8))
    assert run(folders) == 0
    liver = summary_of(folders, "liver")
    assert liver["mean"] == pytest.approx(7 / 9)
    assert (liver["evaluated"], liver["both_empty"]) == (4, 1)
    assert results(folders)["rows"][-2]["value"] is None
    assert results(folders)["rows"][-2]["status"] == "both_empty"
    assert "in neither" in capsys.readouterr().out
    assert run(folders, "--empty", "brats") == 0
    assert summary_of(folders, "liver")["mean"] == pytest.approx((7 / 3 + 1) / 4)
    assert "in neither, as 1" in capsys.readouterr().out
    assert run(folders, "--empty", "brats", "--metrics", "hd95_mm") == 0
    assert "in neither, as 0" in capsys.readouterr().out
    assert run(folders, "--empty", "brats", "--metrics", "lesion_dice", "--lesions", "components") == 0
    assert "in neither  \n" in capsys.readouterr().out


def truncated(path):
    path.write_bytes(path.read_bytes()[:60])


def missing(path):
    path.unlink()


def other_affine(path):
    save(path, predicted_labels(), AFFINE @ np.diag([1, 1, 1.5, 1]))


def other_shape(path):
    save(path, predicted_labels()[:-1])


def other_place(path):
    flipped = np.diag([-2.0, 1, 3, 1])
    flipped[0, 3] = 10
    save(path, predicted_labels()[::-1], flipped)


def four_dimensional(path):
    save(path, np.stack([predicted_labels()] * 2, axis=-1))


def unknown_label(path):
    save(path, np.where(predicted_labels() == 2, 7, predicted_labels()).astype(np.uint8))


def not_integers(path):
    save(path, predicted_labels().astype(np.float32) + 0.25)


def doubled(path):
    save(path.with_suffix(""), predicted_labels())


@pytest.mark.parametrize("side", ["pred", "ref"])
@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (doubled, "b.nii.gz: has the same case id 'b' as "),
        (missing, "no prediction b.nii.gz"),
        (truncated, "is not a readable NIfTI file"),
        (other_affine, "(spacing 2x1x4.5 and 2x1x3 mm); correct it, or resample it with --resample-prediction"),
        (other_shape, "(shape 5x7x8 and 6x7x8); correct it, or resample it with --resample-prediction"),
        (other_place, "(orientation LAS and RAS; position: origins 10 mm apart"),
        (four_dimensional, "is 4-D with 2 channels where a 3-D label map is wanted"),
        (unknown_label, "holds label values [7] that task labels does not know"),
        (not_integers, "holds values that are no whole numbers"),
    ],
)
def test_bad_case_is_listed_and_counted_and_the_others_go_on(spoil, word, side, folders, capsys):
    spoil(folders / side / "b.nii.gz")
    code = run(folders, "--cases", "a", "b", "c")
    assert code == 1
    (failure,) = results(folders)["cases"]["failed"]
    assert failure["case"] == "b"
    assert "b.nii.gz" in failure["message"] or spoil is missing
    assert word in failure["message"] or side == "ref"
    assert "\n" not in failure["message"]
    liver = summary_of(folders, "liver")
    assert (liver["evaluated"], liver["failed"]) == (2, 1)
    assert liver["mean"] == pytest.approx((2 / 3 + 1) / 2)
    assert liver["mean_with_failures"] == pytest.approx((2 / 3 + 1) / 3)
    printed = capsys.readouterr().out
    assert failure["message"] in printed
    assert "Dice of 2 evaluated cases, 1 failed" in printed
    assert failure["message"] in (folders / "out" / "report.md").read_text()
    rows = [row for row in csv.DictReader((folders / "out" / "results.csv").open()) if row["case"] == "b"]
    assert [(row["status"], row["value"]) for row in rows] == [("failed", "")] * 2


@pytest.mark.parametrize("side", ["pred", "ref"])
def test_two_files_of_a_case_are_as_bad_as_none_in_the_rows(side, folders):
    """Without a selection too; --strict refuses them, and what the predictions say of their labels is still read."""
    (folders / "pred" / "a.json").write_text(json.dumps({"labels": {"liver": 1, "spleen": 2}}))
    doubled(folders / side / "b.nii.gz")
    assert run(folders, labels=()) == 1
    found = results(folders)
    assert [failure["case"] for failure in found["cases"]["failed"]] == ["b"]
    assert {row["case"] for row in found["rows"] if row["status"] == "failed"} == {"b"}
    assert f" as {folders / side / 'b.nii'}; rename" in found["cases"]["failed"][0]["message"]
    assert run(folders, "--strict") == 1


def test_two_scans_of_a_case_cost_its_picture_alone(folders, capsys):
    for name in ("a.nii", "a.nii.gz", "b.nii.gz", "z.nii", "z.nii.gz"):
        save(folders / "images" / name, reference_labels().astype(np.float32))
    assert run(folders, "--images", str(folders / "images")) == 0
    found = results(folders)
    assert {case: bool(of["image"]) for case, of in found["files"].items()} == {"a": 0, "b": 1, "c": 0}
    (note,) = found["notes"]
    assert note.startswith(f"scans that are not shown: {folders}/images/a.nii.gz: has the same case id 'a'")
    assert "'z'" not in note
    assert note in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--folds", "folds.json"), 2, "--fold K go together"),
        (("--fold", "0"), 2, "go together"),
        (("--folds", "nowhere.json", "--fold", "0"), 1, "nowhere.json"),
        (("--task", "btcv"), 2, "give one of them"),
        (("--empty", "zero"), 2, "--empty"),
        (("--epmty", "nan"), 2, "--epmty"),
        (("--workers", "many"), 2, "workers"),
        (("--workers", "-1"), 2, "workers"),
        (("--cases", "x", "y"), 1, "(x, y)"),
    ],
)
def test_wrong_arguments_get_one_line(arguments, code, words, folders, capsys):
    assert run(folders, *arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("swin-unetr evaluate: ")
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert not (folders / "out").exists()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ((), "give --task"),
        (("--task", "btvc"), "btvc"),
        (("--labels", "liver"), "NAME=VALUE"),
        (("--labels", "liver=0"), "at least 1"),
    ],
)
def test_wrong_task_gets_one_line(labels, words, folders, capsys):
    assert run(folders, labels=labels) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("labels", [LABELS, ("--task", "btcv")])
def test_no_case_in_common_names_those_that_nearly_match(labels, folders, capsys):
    for case in "abc":
        (folders / "pred" / f"{case}.nii.gz").rename(folders / "pred" / f"patient_{case}.nii.gz")
        (folders / "ref" / f"{case}.nii.gz").rename(folders / "ref" / f"patient-{case}.nii.gz")
    assert run(folders, labels=labels) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "(patient-a is nearly patient_a; patient-b is nearly patient_b; patient-c is nearly patient_c)" in line
    assert "name the predictions <case id>.nii.gz" in line


def all_metrics(folders, *arguments):
    """Runs without --metrics; values by case, structure, metric."""
    paths = ["evaluate", str(folders / "pred"), str(folders / "ref"), "--output", str(folders / "out"), *LABELS]
    assert main([*paths, *arguments]) == 0
    return {(row["case"], row["structure"], row["metric"]): row["value"] for row in results(folders)["rows"]}


def test_every_metric_by_default(folders, capsys):
    values = all_metrics(folders)
    # Half of the liver is missed: the plane of x index 1, 2 mm from the one of index 2; nothing is invented.
    expected = {"dice": 2 / 3, "iou": 0.5, "sensitivity": 0.5, "precision": 1, "specificity": 1}
    expected |= {"volume_difference_ml": 0.024, "hd_mm": 2, "hd95_mm": 2, "assd_mm": 8 / 12, "nsd": 1}
    assert {metric: values["a", "liver", metric] for metric in expected} == pytest.approx(expected)
    assert values["c", "liver", "hd_mm"] == values["a", "spleen", "assd_mm"] == 0
    assert {metric for _, _, metric in values} == set(expected)
    assert all_metrics(folders, "--tolerance-mm", "liver=1.9")["a", "liver", "nsd"] == pytest.approx(8 / 12)
    printed = capsys.readouterr().out
    assert "HD95" in printed
    assert "NSD" in printed


def test_surfaces_by_area(folders):
    values = all_metrics(folders, "--surface", "area")
    assert results(folders)["policy"]["distances"]["surface"] == "area"
    assert values["a", "liver", "hd_mm"] == 2
    assert 0 < values["a", "liver", "assd_mm"] < 8 / 12
    assert "weighted by their area" in (folders / "out" / "report.md").read_text()


def test_brats_policy_for_empty_masks_implies_its_penalty(folders):
    save(folders / "pred" / "a.nii.gz", np.zeros((6, 7, 8), np.uint8))
    assert all_metrics(folders)["a", "liver", "hd95_mm"] in (math.inf, "Infinity", None, "inf")
    assert all_metrics(folders, "--empty", "brats")["a", "liver", "hd95_mm"] == 374
    assert "(policy `penalty`, as `--empty brats` implies)" in (folders / "out" / "report.md").read_text()
    said = all_metrics(folders, "--empty", "brats", "--empty-distance", "diagonal")["a", "liver", "hd95_mm"]
    assert said == pytest.approx(math.sqrt(10**2 + 6**2 + 21**2))


def test_resampled_prediction_is_measured_and_recorded(folders, capsys):
    """Prediction a on half the voxel size along the last axis, cut off where there is nothing; b flipped."""
    finer = AFFINE @ np.diag([1, 1, 0.5, 1])
    finer[2, 3] = -0.75  # the first two of the small voxels fill the first large one
    save(folders / "pred" / "a.nii.gz", np.repeat(predicted_labels(), 2, axis=2)[:, :, :13], finer)
    flipped = np.diag([-2.0, 1, 3, 1])
    flipped[0, 3] = 10
    save(folders / "pred" / "b.nii.gz", predicted_labels()[::-1], flipped)
    assert run(folders) == 1
    assert run(folders, "--resample-prediction") == 0
    written = results(folders)
    assert [row["value"] for row in written["rows"]] == pytest.approx([2 / 3, 1, 2 / 3, 1, 1, 1])
    assert set(written["resampled"]) == {"a", "b"}
    assert written["resampled"]["a"].startswith("shape 6x7x13 and 6x7x8; spacing 2x1x1.5 and 2x1x3 mm")
    assert written["resampled"]["b"].startswith("orientation LAS and RAS; position: origins 10 mm apart")
    assert "cut off" not in written["resampled"]["b"]
    (note,) = written["notes"]
    assert note.startswith("predictions resampled to the grid of their reference, nearest neighbour (2;")
    assert note in (folders / "out" / "report.md").read_text()
    assert note[:60] in capsys.readouterr().out.replace("\n", " ")


def test_what_lies_outside_the_references_grid_counts(folders):
    below = AFFINE.copy()
    below[2, 3] = -3 * 5  # of the liver nothing stays inside, of the spleen one slice of two
    save(folders / "pred" / "a.nii.gz", predicted_labels(), below)
    assert run(folders, "--resample-prediction") == 0
    number = np.count_nonzero(predicted_labels()[:, :, :5])
    assert results(folders)["resampled"]["a"].endswith(
        f"; {number} voxels of it ({number * 6 / 1000:g} ml) lie outside the reference's grid and count as predicted "
        "where nothing is"
    )
    (row,) = [row for row in results(folders)["rows"] if (row["case"], row["structure"]) == ("a", "liver")]
    assert row["predicted_voxels"] == np.count_nonzero(predicted_labels() == 1)


def test_a_cropped_reference_does_not_hide_what_was_invented(tmp_path):
    """A segmentation that covers its own extent alone, as Slicer writes it: one of three predicted blobs is right."""
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[10:20, 10:20, 10:20] = 1
    invented = labels.copy()
    invented[25:35, 25:35, 25:35] = invented[25:35, 10:20, 10:20] = 1
    shifted = np.eye(4)
    shifted[:3, 3] = 8
    save(tmp_path / "pred" / "a.nii.gz", invented, np.eye(4))
    for name, array, affine in (("whole", labels, np.eye(4)), ("cropped", labels[8:22, 8:22, 8:22], shifted)):
        save(tmp_path / name / "a.nii.gz", array, affine)
        paths = [str(tmp_path / part) for part in ("pred", name, "--output", f"out_{name}")]
        paths[2] = "--output"
        words = ["--labels", "liver=1", "--resample-prediction", "--lesions", "components"]
        assert main(["evaluate", *paths, *words]) == 0
    whole, cropped = (
        json.loads((tmp_path / f"out_{name}" / "results.json").read_text()) for name in ("whole", "cropped")
    )
    values = {
        name: {row["metric"]: row["value"] for row in of["rows"]}
        for name, of in (("whole", whole), ("cropped", cropped))
    }
    assert values["cropped"]["dice"] == 0.5
    assert values["cropped"]["lesions_invented"] == 2
    for metric in values["whole"].keys() - {"specificity"}:  # of which the extent of the scan is a part
        assert values["cropped"][metric] == values["whole"][metric], metric
    assert "2,000 voxels of it (2 ml) lie outside" in cropped["resampled"]["a"]
    assert '"pictures":{"a":[' in (tmp_path / "out_cropped" / "report.html").read_text()


def test_a_prediction_far_away_is_refused_in_one_line(tmp_path):
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[2:4] = 1
    away = np.eye(4)
    away[:3, 3] = 1e5
    save(tmp_path / "ref" / "a.nii.gz", labels, np.eye(4))
    save(tmp_path / "pred" / "a.nii.gz", labels, away)
    paths = [str(tmp_path / "pred"), str(tmp_path / "ref"), "--output", str(tmp_path / "out")]
    assert main(["evaluate", *paths, "--labels", "liver=1", "--resample-prediction"]) == 1
    (failure,) = json.loads((tmp_path / "out" / "results.json").read_text())["cases"]["failed"]
    assert "do not show the same part of a patient" in failure["message"]


def test_a_file_that_breaks_between_two_readings_is_the_failure_of_its_case(tmp_path, monkeypatch):
    """`--task brats` looks at all files before it measures them."""
    from swin_unetr.evaluation.inputs import find as module

    for case in "ab":
        for side in ("pred", "ref"):
            save(tmp_path / side / f"{case}.nii.gz", np.minimum(reference_labels(), 1))
    look = module.label_values

    def look_and_break(pairs, workers):
        found = look(pairs, workers)
        truncated(pairs[1].prediction)
        return found

    monkeypatch.setattr(module, "label_values", look_and_break)
    result = evaluate(tmp_path / "pred", tmp_path / "ref", task="brats", output=tmp_path / "out")
    assert result.evaluated == ("a",)
    assert [failure.case for failure in result.failures] == ["b"]
    assert "is not a readable NIfTI file" in result.failures[0].message


def test_output_that_is_a_file(folders, capsys):
    (folders / "out").write_text("mine")
    assert run(folders) == 2
    assert "out cannot be made a folder" in capsys.readouterr().err
    assert (folders / "out").read_text() == "mine"


@pytest.mark.parametrize("side", ["pred", "ref"])
def test_empty_or_missing_folder(side, folders, capsys):
    for path in (folders / side).iterdir():
        path.unlink()
    assert run(folders) == 1
    (folders / side).rmdir()
    assert run(folders) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(str(folders / side) in line for line in lines)


def test_validation_cases_of_a_fold(folders):
    Folds(seed=0, folds=(("a", "c"), ("b",))).save(folders / "folds.json")
    assert run(folders, "--folds", str(folders / "folds.json"), "--fold", "0") == 0
    assert results(folders)["cases"]["evaluated"] == ["a", "c"]
    assert results(folders)["inputs"]["fold"] == 0


def test_workers_change_nothing(folders):
    (folders / "pred" / "b.nii.gz").unlink()
    alone, together = (
        evaluate(folders / "pred", folders / "ref", task={"liver": 1, "spleen": 2}, workers=workers)
        for workers in (0, 3)
    )
    assert alone.summary == together.summary
    assert alone.failures == together.failures
    assert [row for row in alone.rows if not math.isnan(row.value)] == [
        row for row in together.rows if not math.isnan(row.value)
    ]
    assert alone.exit_code == 1


def test_one_file_against_one_file_and_against_a_folder(folders):
    task = {"liver": 1, "spleen": 2}
    for reference in (folders / "ref" / "c.nii.gz", folders / "ref"):
        result = evaluate(folders / "pred" / "a.nii.gz", reference, task=task)
        assert result.evaluated == ("a",)
        assert not result.failures


def test_task_that_predict_left_beside_its_files(folders):
    save(folders / "pred" / "b.nii.gz", np.where(predicted_labels() == 2, 14, 1).astype(np.uint8))
    (folders / "pred" / "predictions.json").write_text(json.dumps({"task": to_dict(BTCV)}))
    result = evaluate(folders / "pred", folders / "ref")
    assert result.prediction_task == BTCV
    assert [failure.case for failure in result.failures] == ["b"]
    assert result.summary_of("right kidney").mean == pytest.approx(1)
    assert result.summary_of("liver").both_empty == 2


def test_help_answers_at_once_and_nothing_loads_torch(folders):
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "swin_unetr", "evaluate", "--help"], check=True, stdout=subprocess.DEVNULL)
    assert time.perf_counter() - started < 3  # a second on a quiet machine
    code = (
        "import sys; from swin_unetr import evaluate;"
        f"evaluate({str(folders / 'pred')!r}, {str(folders / 'ref')!r}, task={{'liver': 1, 'spleen': 2}});"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
