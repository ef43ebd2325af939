"""From a run to a calibration, to decisions on new scans, to their evaluation."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from finetune.calibration import calibrate
from finetune.config import FinetuneConfig
from finetune.run import finetune
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.evaluation.run import evaluate
from swin_unetr.inference.batch.run import predict
from swin_unetr.phantoms import make_phantoms
from swin_unetr.trust.calibration import TRUST_ARRAYS, TRUST_JSON, load_calibration

TINY: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16]},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 0},
    "trainer": {"max_epochs": 2, "validate_every": 2, "accelerator": "cpu"},
    "inference": {"roi_size": [24, 24, 16], "overlap": 0.0},
    "validation_overlap": 0.0,
    "store": "memory",
}
UNSEEN = 16
TORCH: dict[str, Any] = {"device": "cpu", "backend": "torch", "precision": "float32"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A data set, and a run on eight of its scans that was calibrated on the other sixteen."""
    root = tmp_path_factory.mktemp("trust")
    data = make_phantoms(root / "data", cases=8 + UNSEEN, held_back=2, size=(24, 24, 16))
    names = [f"phantom_{index:03d}" for index in range(8 + UNSEEN)]
    split = {"seed": 0, "folds": [names[:UNSEEN], names[UNSEEN:]]}
    (root / "split.json").write_text(json.dumps(split))
    config = from_dict(FinetuneConfig, TINY, source="test")
    finetune(config, data=data, output=root / "run", fold=0, folds=root / "split.json")
    shutil.copytree(root / "run", root / "before")
    calibrate(root / "run", progress=lambda line: None, **TORCH)
    return root


@pytest.mark.slow
def test_a_calibration_is_read_back_as_it_was_written(root) -> None:
    lines: list[str] = []
    again = calibrate(root / "run", progress=lines.append, **TORCH)
    assert len(lines) == UNSEEN + 8
    found = load_calibration(root / "run" / "best")
    assert found is not None
    assert (found.cases, found.patients, found.decides) == (UNSEEN, UNSEEN, True)
    assert found.bank is not None
    assert found.bank.points.shape == (8, 2)  # fewer dimensions than a third of eight scans
    first = again.calibration
    assert (found.temperature, found.ece_after) == (first.temperature, first.ece_after)
    np.testing.assert_array_equal(found.known_risks, first.known_risks)
    for name, structure in first.structures.items():
        assert found.structures[name].volume_ratio == structure.volume_ratio
        if structure.regression is not None:
            np.testing.assert_array_equal(found.structures[name].regression.left_out, structure.regression.left_out)
    assert "calibrated on 16 cases of 16 patients" in again.summary()


@pytest.mark.slow
def test_predictions_have_decisions_and_an_evaluation_says_what_they_were_worth(root, tmp_path, capsys) -> None:
    args = ["predict", root / "run", root / "data", "--output", tmp_path / "out", "--uncertainty-map"]
    args += ["--backend", "torch", "--precision", "float32", "--device", "cpu"]
    assert main([*map(str, args)]) == 0
    said = capsys.readouterr().out
    assert "decision  Dice  bound  reasons" in said
    with (tmp_path / "out" / "triage.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 + UNSEEN + 2
    decisions = [row["decision"] for row in rows]
    assert decisions == sorted(decisions, key=["reject", "review", "accept"].index)
    first = json.loads((tmp_path / "out" / "phantom_000.json").read_text())["trust"]
    assert first["confidence"] == pytest.approx(0.9)
    for of in first["structures"].values():
        if of["predicted_dice"] is not None:
            assert 0 <= of["dice_bound"] <= 1
            assert 0 <= of["predicted_dice"] <= 1
        if of["volume_interval_ml"] is not None:
            assert of["volume_interval_ml"][0] <= of["volume_interval_ml"][1]
    scan = nibabel.load(root / "data" / "imagesTr" / "phantom_000.nii.gz")
    map_ = nibabel.load(tmp_path / "out" / "phantom_000_uncertainty.nii.gz")
    assert map_.shape == scan.shape
    np.testing.assert_allclose(map_.affine, scan.affine, atol=1e-4)
    values = np.asanyarray(map_.dataobj)
    assert 0 <= values.min() < values.max() <= 1

    result = evaluate(tmp_path / "out", root / "data", output=tmp_path / "report", metrics=["dice"])
    assert len(result.evaluated) == 8 + UNSEEN
    trust = json.loads((tmp_path / "report" / "results.json").read_text())["trust"]
    assert trust["cases"] == 8 + UNSEEN
    assert trust["aurc_best"] <= trust["aurc"]
    assert trust["poor_left"][0] == trust["poor"]
    assert trust["poor_left"][-1] == 0
    assert "setUpTrust" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.slow
def test_scans_of_another_world_are_rejected_and_the_exit_code_says_it(root, tmp_path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    grid = nibabel.load(root / "data" / "imagesTr" / "phantom_000.nii.gz")
    noise = np.random.default_rng(0).normal(0, 30000, grid.shape)
    labels = np.asanyarray(nibabel.load(root / "data" / "labelsTr" / "phantom_000.nii.gz").dataobj)
    for name, values in {"noise": noise, "labels": labels}.items():
        nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), grid.affine), odd / f"{name}.nii.gz")
    args = ["predict", root / "run", odd, "--output", tmp_path / "out", "--fail-on", "reject"]
    args += ["--backend", "torch", "--precision", "float32", "--device", "cpu"]
    assert main([*map(str, args)]) == 3
    for name in ("noise", "labels"):
        trust = json.loads((tmp_path / "out" / f"{name}.json").read_text())["trust"]
        assert trust["decision"] == "reject"
        assert trust["reasons"]


@pytest.mark.slow
def test_without_a_calibration_nothing_changes_and_trust_says_how_to_make_one(root, tmp_path, capsys) -> None:
    scans = root / "data" / "imagesTs"
    plain = predict(root / "before", scans, tmp_path / "plain", progress=False, **TORCH)
    assert plain.trust == {}
    assert not (tmp_path / "plain" / "triage.csv").exists()
    assert "trust" not in json.loads((tmp_path / "plain" / f"{plain.done[0]}.json").read_text())
    asked = predict(root / "before", scans, tmp_path / "asked", trust=True, **TORCH)
    assert capsys.readouterr().err.count("calibrate") == 1
    assert [of.decision for of in asked.trust.values()] == [None, None]
    calibrated = predict(root / "run", scans, tmp_path / "plain", progress=False, **TORCH)
    assert set(calibrated.trust) == set(plain.done)  # results that were not judged are made again
    for case in plain.done:
        labels = [(tmp_path / run / f"{case}.nii.gz").read_bytes() for run in ("plain", "asked")]
        assert labels[0] == labels[1]


@pytest.mark.slow
def test_faults_are_said(root, tmp_path) -> None:
    damaged = shutil.copytree(root / "run" / "best", tmp_path / "damaged")
    (damaged / TRUST_ARRAYS).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="run swin-unetr calibrate again"):
        predict(damaged, root / "data" / "imagesTs", tmp_path / "out", progress=False, **TORCH)
    of_other = shutil.copytree(root / "run" / "best", tmp_path / "other")
    facts = json.loads((of_other / TRUST_JSON).read_text())
    (of_other / TRUST_JSON).write_text(json.dumps({**facts, "weights": "0" * 64}))
    assert predict(of_other, root / "data" / "imagesTs", tmp_path / "out", progress=False, **TORCH).trust == {}
    with pytest.raises(ConfigError, match="no finished run"):
        calibrate(root / "data")
    with pytest.raises(ConfigError, match="must lie between 0"):
        calibrate(root / "run", miss=0.7)
    args = ["predict", root / "before", root / "data", "--output", tmp_path / "x", "--fail-on", "review"]
    assert main([*map(str, args)]) == 2
    assert main([*map(str, args), "--no-trust"]) == 2
    assert not (tmp_path / "x").exists()
