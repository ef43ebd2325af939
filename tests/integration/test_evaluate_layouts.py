"""References in the folders of the challenges, whose layout says what the labels mean."""

import json

import nibabel as nib
import numpy as np
import pytest

from swin_unetr import evaluate
from swin_unetr.cli import main
from swin_unetr.tasks import brats


def save(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(labels, np.diag([2.0, 1.0, 3.0, 1.0])), path)


def test_brats_sides_of_other_years(tmp_path):
    """Prediction as in 2021, reference as in 2023, in the folders of 2023."""
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[1:7, 1:7, 1:7], reference[2:6, 2:6, 2:6], reference[3:5, 3:5, 3:5] = 2, 1, 3
    prediction = np.where(reference == 3, 4, reference).astype(np.uint8)
    prediction[2:6, 2:6, 2] = 2  # 16 voxels of core are taken for oedema
    for case in ("BraTS-GLI-00000-000", "BraTS-GLI-00001-000"):
        folder = tmp_path / "ref" / case
        save(folder / f"{case}-seg.nii.gz", reference)
        for channel in ("t1n", "t1c", "t2w", "t2f"):
            save(folder / f"{case}-{channel}.nii.gz", reference.astype(np.float32))
        save(tmp_path / "pred" / f"{case}.nii.gz", prediction)
    result = evaluate(tmp_path / "pred", tmp_path / "ref", task="brats", metrics=("dice",))
    assert (result.prediction_task, result.reference_task) == (brats("brats2021"), brats("brats2023"))
    means = {summary.structure: summary.mean for summary in result.summary}
    assert means == pytest.approx({"TC": 96 / 112, "WT": 1, "ET": 1, "mean of structures": (96 / 112 + 2) / 3})
    report = tmp_path / "report"
    command = ["evaluate", str(tmp_path / "pred"), str(tmp_path / "ref"), "--output", str(report)]
    assert main([*command, "--task", "brats2021"]) == 1
    assert "[3]" in json.loads((report / "results.json").read_text())["cases"]["failed"][0]["message"]


def test_btcv_root(tmp_path):
    """Labels are named label0001 where scans and predictions are named img0001."""
    reference, prediction = np.zeros((2, 4, 4, 4), np.uint8)
    reference[1, 1, 1:3] = prediction[1, 1, 1] = 1  # one voxel of two of the spleen
    for number in (1, 2):
        save(tmp_path / "ref" / "imagesTr" / f"img000{number}.nii.gz", reference.astype(np.int16))
        save(tmp_path / "ref" / "labelsTr" / f"label000{number}.nii.gz", reference)
        save(tmp_path / "pred" / f"img000{number}.nii.gz", prediction)
    result = evaluate(tmp_path / "pred", tmp_path / "ref", task="btcv")
    assert result.evaluated == ("img0001", "img0002")
    assert result.summary_of("spleen").mean == pytest.approx(2 / 3)


def test_phantoms_with_the_task_of_their_dataset_json(phantom_data, tmp_path):
    labels = sorted((phantom_data / "labelsTr").glob("*.nii.gz"))
    for path in labels[:-1]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    result = evaluate(tmp_path, phantom_data)
    assert len(result.evaluated) == len(labels) - 1
    assert [failure.case for failure in result.failures] == [labels[-1].name.removesuffix(".nii.gz")]
    assert result.summary_of().mean == 1
    assert result.summary_of("liver").mean_with_failures == pytest.approx(1 - 1 / len(labels))
    held_back = evaluate(phantom_data / "labelsTs", phantom_data / "labelsTs", task=phantom_data / "dataset.json")
    assert held_back.summary_of("aorta").mean == 1
