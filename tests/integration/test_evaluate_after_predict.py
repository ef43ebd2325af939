"""What `predict` writes is what `evaluate` reads, without a word on the task."""

import pytest
import torch

from swin_unetr import NetworkConfig, build_network, evaluate, predict, save_model
from swin_unetr.config import InferenceConfig
from swin_unetr.datasets import read_dataset
from swin_unetr.model_description import ModelDescription


@pytest.fixture(scope="module")
def predicted(phantom_data, tmp_path_factory):
    """Two phantoms segmented by a network that has learnt nothing."""
    task = read_dataset(phantom_data, require_labels=True).task
    network = NetworkConfig(
        num_classes=task.num_classes, feature_size=12, depths=(1, 1), num_heads=(3, 6), patch_size=(4, 4, 2)
    )
    description = ModelDescription(
        kind="segmentation", network=network, task=task, inference=InferenceConfig(roi_size=(32, 32, 16))
    )
    folder = tmp_path_factory.mktemp("predicted")
    torch.manual_seed(0)
    save_model(build_network(network), folder / "model", description=description)
    cases = ("phantom_000", "phantom_002")
    report = predict(
        folder / "model", phantom_data, folder / "out", cases=cases, save_probabilities=True, progress=False
    )
    assert report.done == list(cases)
    return folder / "out"


def test_task_comes_with_the_predictions(predicted, phantom_data):
    result = evaluate(predicted, phantom_data / "labelsTr", cases=("phantom_000", "phantom_002"))
    assert result.evaluated == ("phantom_000", "phantom_002")
    assert not result.failures
    assert result.prediction_task == read_dataset(phantom_data, require_labels=True).task
    assert 0 <= result.summary_of().mean < 0.5


def test_record_of_a_case_is_enough(predicted, phantom_data, tmp_path):
    for name in ("phantom_000.nii.gz", "phantom_000.json"):
        (tmp_path / name).write_bytes((predicted / name).read_bytes())
    alone = evaluate(tmp_path / "phantom_000.nii.gz", phantom_data / "labelsTr")
    among = evaluate(predicted, phantom_data, cases=("phantom_000",))
    assert alone.rows == among.rows


def test_model_folder_as_task(predicted, phantom_data):
    result = evaluate(
        predicted, phantom_data / "labelsTr", task=predicted.parent / "model", cases=("phantom_002", "phantom_004")
    )
    assert result.evaluated == ("phantom_002",)
    assert [failure.case for failure in result.failures] == ["phantom_004"]
