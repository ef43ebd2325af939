"""A baseline goes the whole way: command, training, model folder, prediction, evaluation, comparison."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.config import FinetuneConfig
from finetune.planning.memory import training_footprint
from finetune.run import finetune
from swin_unetr import predict
from swin_unetr.checkpoints import load_model
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.datasets import read_dataset
from swin_unetr.errors import CheckpointError
from swin_unetr.inference.backends.installed import is_installed
from transforms.io import read_labels

OPTIONS: dict[str, Any] = {
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "dynunet": {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "filters": [4, 8, 16]},
}
RECIPE: dict[str, Any] = {
    "network": {"baselines": OPTIONS, "feature_size": 12, "num_heads": [3, 6], "depths": [1, 1]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16]},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 0.5},
    "trainer": {"max_epochs": 1, "validate_every": 1, "accelerator": "cpu"},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}


@pytest.fixture(scope="module", params=OPTIONS)
def trained(request, phantom_data: Path, tmp_path_factory) -> Path:
    """A run folder of each baseline, trained by the command; its name is the baseline's."""
    folder = tmp_path_factory.mktemp("baseline")
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    run = folder / request.param
    arguments = ["--config", str(folder / "recipe.yaml"), "--data", str(phantom_data), "--output", str(run)]
    assert main(["finetune", *arguments, "--network.architecture", request.param]) == 0
    return run


def test_the_run_says_what_was_trained(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert record["config"]["network"]["architecture"] == trained.name
    assert record["fast_paths"]["attention"] == record["fast_paths"]["recompute"] == "not applicable"
    loaded = load_model(trained / "best")
    assert loaded.description.network.architecture == trained.name
    assert type(loaded.network.network).__module__.startswith("monai.")


def test_it_predicts_and_is_evaluated_and_compared(trained: Path, phantom_data: Path, tmp_path: Path) -> None:
    for name, backend in (("one", "torch"), ("two", "torch")):
        report = predict(trained, phantom_data / "imagesTs", tmp_path / name, backend=backend, progress=False)
        assert len(report.done) == 2
    labels = str(phantom_data / "labelsTs")
    assert main(["evaluate", str(tmp_path / "one"), labels, "--output", str(tmp_path / "scores")]) == 0
    compared = ["--reference", labels, "--output", str(tmp_path / "compared")]
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two"), *compared]) == 0


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_other_backends_give_the_same_labels(trained: Path, phantom_data: Path, tmp_path: Path, backend: str) -> None:
    if not is_installed(backend):
        pytest.skip(f"{backend} is not installed")
    for name in ("torch", backend):
        predict(trained, phantom_data / "imagesTs", tmp_path / name, backend=name, precision="float32", progress=False)
    for path in sorted((tmp_path / "torch").glob("*.nii.gz")):
        one, other = (read_labels(tmp_path / name / path.name).array for name in ("torch", backend))
        assert (one != other).mean() < 1e-3


def test_it_goes_on_from_its_checkpoint_and_starts_from_no_swin_encoder(
    trained: Path, phantom_data: Path, tmp_path: Path
) -> None:
    network = {**RECIPE["network"], "architecture": trained.name}
    longer = {**RECIPE, "network": network, "trainer": {**RECIPE["trainer"], "max_epochs": 2}}
    config = from_dict(FinetuneConfig, longer, source="test")
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    assert finetune(config, data=phantom_data, output=folder, resume=True).epochs == 2
    before, after = (load_model(run / "last").network.state_dict() for run in (trained, folder))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(CheckpointError, match="has no Swin encoder; leave out --init"):
        finetune(config, data=phantom_data, output=tmp_path / "started", init=trained)


def test_its_footprint_is_counted(trained: Path, phantom_data: Path) -> None:
    task = read_dataset(phantom_data, require_labels=True).task
    assert task is not None
    values = {**RECIPE, "network": {**RECIPE["network"], "architecture": trained.name}}
    small = from_dict(FinetuneConfig, values, source="test")
    wide = from_dict(FinetuneConfig, {**values, "sampling": {"crop_size": [32, 32, 32]}}, source="test")
    network = load_model(trained / "best").network
    for device in ("cpu", "cuda"):
        one, other = (training_footprint(each, task, device=device) for each in (small, wide))
        assert one.weights == sum(value.nbytes for value in network.parameters())
        assert 6 < other.activations / one.activations < 9  # eight times the voxels
