"""Options of a training that are off by default go together: planned, trained, resumed, predicted."""

import json
from pathlib import Path

import pytest
import torch

from finetune.planning.planner import plan_data, write_plan
from swin_unetr import predict
from swin_unetr.checkpoints import load_model
from swin_unetr.cli import main
from swin_unetr.datasets import read_dataset
from swin_unetr.planning.this_machine import this_machine
from swin_unetr.survey.run import survey

#: A smaller and shorter training than the plan's.
SHORT = [
    "--network.feature_size", "4", "--network.num_heads", "[1,2,4]", "--network.depths", "[1,1,1]",
    "--network.merge_strides", "[[2,2,2],[2,2,2],[2,2,2]]", "--network.patch_size", "[2,2,2]",
    "--network.window_size", "[2,2,2]",
    "--sampling.crop_size", "[16,16,16]", "--inference.roi_size", "[16,16,16]", "--inference.overlap", "0",
    "--validation_overlap", "0",
    "--optimizer.warmup_epochs", "0.5", "--trainer.validate_every", "1", "--trainer.accelerator", "cpu",
]  # fmt: skip
LEVERS = [
    "--network.use_v2", "true",
    "--preprocess.spacing_mm", "[9,9,9]",
    "--preprocess.intensity", '{scheme: hu_zscore, window: [-150, 250], mean: 60, std: 40}',
    "--preprocess.image_interpolation", "cubic",
    "--preprocess.label_interpolation", "linear",
    "--preprocess.through_plane", "auto",
    "--sampling.scheme", "classes", "--sampling.rarity_power", "0.5",
    "--optimizer.decay_all", "false", "--optimizer.weight_decay", "0.05",
    "--loss.class_weights", "frequencies",
    "--deep_supervision", "true",
]  # fmt: skip


@pytest.fixture(scope="module")
def planned(phantom_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planned")
    found = survey(read_dataset(phantom_data, require_labels=True), workers=1)
    return write_plan(plan_data(found, this_machine(memory=8_000_000_000)), folder)


def train(plan: Path, data: Path, run: Path, *options: str) -> None:
    arguments = ["--plan", str(plan), "--data", str(data), "--output", str(run)]
    assert main(["finetune", *arguments, *SHORT, *LEVERS, *options]) == 0


def test_a_plan_with_all_options_trains_resumes_and_predicts(planned: Path, phantom_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(planned, phantom_data, run, "--trainer.max_epochs", "1")
    train(planned, phantom_data, run, "--trainer.max_epochs", "2", "--resume", "auto")
    record = json.loads((run / "run.json").read_text())
    assert record["epochs"] == 2
    network = load_model(run / "best").network
    heads = 2 * 2  # of deep supervision: two maps, each a weight and a bias
    counted = record["weight_decay"]
    assert counted["decayed"] + counted["not_decayed"] == len(list(network.parameters())) + heads
    assert set(record["cropped_at"]) == {target["name"] for target in record["task"]["targets"]}
    assert max(record["cropped_at"].values()) == 1
    groups = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [
        (0.05, counted["decayed"]),
        (0.0, counted["not_decayed"]),
    ]
    described = json.loads((run / "best/model.json").read_text())
    assert described["network"]["use_v2"] is True
    assert described["preprocess"]["image_interpolation"] == "cubic"
    assert described["preprocess"]["intensity"]["mean"] == 60
    report = predict(run, phantom_data / "imagesTs", tmp_path / "out", progress=False, backend="torch")
    assert len(report.done) == 2


def test_a_plan_for_a_gpu_with_a_baseline_says_which_option_to_add(
    planned: Path, phantom_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--plan", str(planned), "--data", str(phantom_data), "--output", str(tmp_path / "run")]
    options = ["--deep_supervision", "true", "--network.architecture", "segresnet"]
    assert main(["finetune", *arguments, *options]) == 2
    assert "deep_supervision: segresnet is trained without; set it to false (--deep_supervision false)" in (
        capsys.readouterr().err
    )
