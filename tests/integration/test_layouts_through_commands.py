"""Every command takes every layout: fine-tune, predict and evaluate from nnU-Net raw, BIDS, lists and DICOM."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pretrain.scans.find import find_scans
from swin_unetr import evaluate, predict
from swin_unetr.cli import main
from swin_unetr.config import InferenceConfig, IntensityConfig, PreprocessConfig
from swin_unetr.conversion.run import convert
from swin_unetr.datasets import read_dataset
from swin_unetr.inference.batch.inputs import find_inputs
from swin_unetr.phantoms import LABELS
from swin_unetr.tasks import Task, exclusive

RECIPE = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 1},
    "optimizer": {"warmup_epochs": 0},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "num_folds": 3,
}


@pytest.fixture
def raw(phantom_data: Path, tmp_path: Path) -> Path:
    """The phantoms as nnU-Net has them, in MetaImage files."""
    assert not convert(phantom_data, tmp_path / "raw", to="nnunet", file_type="mha", workers=1).failures
    return tmp_path / "raw"


def test_nnunet_raw_from_training_to_report(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    run, results = tmp_path / "run", tmp_path / "results"
    train = ["finetune", "--config", str(tmp_path / "recipe.yaml"), "--data", str(raw), "--output", str(run)]
    assert main(train) == 0
    record = json.loads((run / "run.json").read_text())
    assert (record["layout"], len(record["training"]), len(record["validation"])) == ("nnunet", 4, 2)
    assert main(["predict", str(run), str(raw / "imagesTs"), "--output", str(results), "--backend", "torch"]) == 0
    assert sorted(path.name for path in results.glob("*.nii.gz")) == ["phantom_006.nii.gz", "phantom_007.nii.gz"]
    assert (
        main(["predict", str(run), str(raw), "--cases", "phantom_000", "--output", str(results), "--backend", "torch"])
        == 0
    )
    assert (
        main(["evaluate", str(results), str(raw), "--cases", "phantom_000", "--output", str(tmp_path / "report")]) == 0
    )
    assert "liver" in capsys.readouterr().out


def test_references_from_a_list(phantom_data: Path, tmp_path: Path) -> None:
    cases = [case for case in read_dataset(phantom_data, require_labels=True).cases if case.label][:2]
    rows = ["case,image,label"]
    for case in cases:
        for path in (case.images[0], case.label):
            assert path is not None
            (tmp_path / path.parent.name).mkdir(exist_ok=True)
            (tmp_path / path.parent.name / path.name).symlink_to(path)
        rows.append(f"{case.id},imagesTr/{case.id}.nii.gz,labelsTr/{case.id}.nii.gz")
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    names = {name: value for value, name in enumerate(LABELS, 1)}
    result = evaluate(tmp_path / "labelsTr", tmp_path / "mine.csv", task=names, metrics=("dice",))
    assert (result.evaluated, result.summary_of("aorta").mean) == (tuple(case.id for case in cases), 1.0)


def test_a_dicom_series_is_segmented(test_data: Path, tmp_path: Path, make_model: Callable[..., Path]) -> None:
    (tmp_path / "scans" / "patient").mkdir(parents=True)
    for path in sorted((test_data / "ct" / "dicom_series").iterdir())[:3]:
        (tmp_path / "scans" / "patient" / path.name).symlink_to(path)
    task = Task(name="t", modality="CT", channels=("CT",), targets=exclusive(("a",)))
    model = make_model(
        "model",
        task,
        preprocess=PreprocessConfig(spacing_mm=(8, 8, 2), intensity=IntensityConfig(scheme="hu_window")),
        inference=InferenceConfig(roi_size=(64, 64, 16), overlap=0.0),
    )
    report = predict(model, tmp_path / "scans", tmp_path / "out", backend="torch")
    assert (report.done, report.failures) == (["patient"], [])
    result = nibabel.load(tmp_path / "out" / "patient.nii.gz")
    assert result.shape == (512, 512, 3)
    np.testing.assert_allclose(np.diag(result.affine), (-0.9765625, -0.9765625, 2, 1))


def test_channels_go_by_their_names(tmp_path: Path) -> None:
    for subject in ("sub-1", "sub-2"):
        for kind in ("FLAIR", "T1w", "T2w"):
            path = tmp_path / subject / "anat" / f"{subject}_{kind}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    task = Task(name="t", modality="MR", channels=("T2w", "FLAIR"), targets=exclusive(("a",)))
    found = find_inputs([tmp_path], task, layout="auto", selected=None)
    assert [path.name for path in found.cases[1].images] == ["sub-2_T2w.nii.gz", "sub-2_FLAIR.nii.gz"]


def test_pre_training_finds_scans_in_every_layout(raw: Path) -> None:
    assert len(find_scans([raw]).cases) == 6
    assert len(find_scans([raw], with_test_cases=True).cases) == 8
