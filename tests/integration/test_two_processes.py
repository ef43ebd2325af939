"""Two processes, over gloo on the CPU: the same training as one, stopped together, and of a loss that is no number.

By DDP, and by FSDP, which divides the weights.
"""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.losses import DiceLoss

from finetune.batch_dice import batch_dice
from swin_unetr.checkpoints import load_model
from swin_unetr.checkpoints.model_folder import read_description, read_weights


@pytest.fixture(scope="module")
def runs(phantom_data: Path, tmp_path_factory, project_root: Path) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, str(Path(__file__).with_name("in_two_processes.py")), str(phantom_data), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(project_root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def losses(runs: Path, name: str) -> list[float]:
    return json.loads((runs / name).read_text())


def steps(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["global_step"]


def test_two_processes_have_the_losses_of_one_with_twice_the_batch(runs: Path) -> None:
    one, first, second = losses(runs, "one.0"), losses(runs, "two.0"), losses(runs, "two.1")
    assert len(one) == len(first) == len(second) == 6
    together = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    assert together[0] == pytest.approx(one[0], rel=1e-6)
    assert together == pytest.approx(one, rel=1e-4)  # the order of additions is another
    assert first[0] != pytest.approx(second[0], rel=1e-4)  # other crops
    for ours, theirs in zip(
        *(load_model(runs / name / "last").network.parameters() for name in ("one", "two")), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=2e-4)
    tables = [list(csv.DictReader((runs / name / "metrics.csv").open())) for name in ("one", "two")]
    for ours, theirs in zip(*tables, strict=True):
        assert float(ours["train/loss"]) == pytest.approx(float(theirs["train/loss"]), rel=1e-4)
        assert (ours["step"], ours["learning_rate"]) == (theirs["step"], theirs["learning_rate"])
    assert float(tables[0][-1]["val/dice"]) == pytest.approx(float(tables[1][-1]["val/dice"]), abs=0.01)


def test_partial_labels_count_the_same_in_two_processes(runs: Path) -> None:
    """What was looked for differs between their crops; the mean of both is the loss of both crops together."""
    whole, *parts = (torch.load(runs / name) for name in ("marginal_one.0", "marginal_two.0", "marginal_two.1"))
    torch.testing.assert_close(sum(parts) / 2, whole)
    assert not torch.equal(parts[0], parts[1])


def test_scans_without_labels_and_frozen_weights_count_the_same_in_two_processes(runs: Path) -> None:
    one, first, second = losses(runs, "taught_one.0"), losses(runs, "taught.0"), losses(runs, "taught.1")
    assert [(a + b) / 2 for a, b in zip(first, second, strict=True)] == pytest.approx(one, rel=1e-4)
    tables = [list(csv.DictReader((runs / name / "metrics.csv").open())) for name in ("taught_one", "taught")]
    for name in ("train/consistency", "train/confident", "learning_rate/carried_1"):
        ours, theirs = ([float(row[name]) for row in table] for table in tables)
        assert ours == pytest.approx(theirs, rel=1e-3)
        assert ours[-1] > 0
    assert_same(runs, "taught_one", "taught")


def test_a_teacher_and_frozen_weights_that_are_divided_are_stopped_and_resumed(runs: Path) -> None:
    found = losses(runs, "taught_before_fsdp") + losses(runs, "taught_fsdp.0")
    assert found == pytest.approx(losses(runs, "taught.0"), rel=1e-4)
    assert_same(runs, "taught", "taught_fsdp")


def assert_same(runs: Path, *names: str) -> None:
    networks = [load_model(runs / name / "last").network for name in names]
    for ours, theirs in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=2e-4)


def test_a_signal_to_one_of_them_stops_all_after_the_same_step(runs: Path) -> None:
    # the third step is the first of the second epoch; what follows is trained after the resume
    assert losses(runs, "before") == losses(runs, "two.0")[:3]
    assert losses(runs, "stopped.0") == losses(runs, "two.0")[3:]
    assert steps(runs / "stopped" / "checkpoints" / "last.ckpt") == 6
    weights = [load_model(runs / name / "last").network.state_dict() for name in ("two", "stopped")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_the_clock_of_the_first_process_ends_epochs_and_training_in_all(runs: Path) -> None:
    first, second = losses(runs, "timed.0"), losses(runs, "timed.1")
    assert [(runs / f"timed.end{rank}").read_text() for rank in range(2)] == ["finished", "finished"]
    ends = json.loads((runs / "timed" / "schedule.json").read_text())["epoch_ends"]
    assert len(first) == len(second) == ends[-1] > 6
    assert len(ends) == 2
    assert (losses(runs, "repeated.0"), losses(runs, "repeated.1")) == (first, second)
    weights = [load_model(runs / name / "last").network.state_dict() for name in ("timed", "repeated")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize("name", ["spoilt", "spoilt_fsdp"])
def test_a_loss_that_is_no_number_in_one_of_them_ends_all_with_the_same_line(runs: Path, name: str) -> None:
    ends = [(runs / f"{name}.end{rank}").read_text() for rank in range(2)]
    assert ends[0] == ends[1]
    assert "the training loss is nan in epoch 2, batch 2 (cases: phantom_" in ends[0]
    assert "\n" not in ends[0]


def test_pre_training_in_two_processes(runs: Path) -> None:
    first, second = losses(runs, "encoder.0"), losses(runs, "encoder.1")
    assert len(first) == len(second) == 4  # six scans in batches of two on each of two
    assert all(map(torch.isfinite, map(torch.tensor, first + second)))
    assert read_description(runs / "encoder" / "best").provenance["epoch"] == 2


def test_divided_weights_are_trained_as_whole_ones_and_stopped_with_them(runs: Path) -> None:
    assert losses(runs, "before_fsdp") == pytest.approx(losses(runs, "two.0")[:3], rel=1e-5)


@pytest.mark.parametrize("name", ["from_fsdp", "to_fsdp"])
def test_a_checkpoint_goes_from_divided_weights_to_whole_ones_and_back(runs: Path, name: str) -> None:
    assert losses(runs, f"{name}.0") == pytest.approx(losses(runs, "two.0")[3:], rel=1e-5)
    checkpoints = [torch.load(runs / each / "checkpoints/last.ckpt", weights_only=True) for each in ("two", name)]
    for part in ("state_dict", "current_model_state", "optimizer_states", "averaging_state"):
        ours, theirs = (dict(tensors_of(checkpoint[part])) for checkpoint in checkpoints)
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            torch.testing.assert_close(theirs[key], tensor, rtol=1e-3, atol=1e-5)
    for folder in ("last", "best"):
        networks = [load_model(runs / each / folder).network for each in ("two", name)]
        for ours, theirs in zip(*(network.parameters() for network in networks), strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-5)
    scores = [read_description(runs / each / "last").provenance["scores"] for each in ("two", name)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-3, nan_ok=True)


def tensors_of(state: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        assert type(state) is torch.Tensor  # a whole one
        yield name, state
    elif isinstance(state, dict | list):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from tensors_of(value, f"{name}/{key}")


def test_one_process_goes_on_where_two_with_divided_weights_ended(runs: Path) -> None:
    assert (runs / "alone.end0").read_text() == "finished"
    assert len(losses(runs, "alone.0")) == 4  # an epoch of one scan at a time
    assert read_description(runs / "alone" / "last").provenance["epoch"] == 4


def test_recomputed_and_supervised_blocks_are_divided_too(runs: Path) -> None:
    assert losses(runs, "deep_fsdp.0") == pytest.approx(losses(runs, "deep.0"), rel=1e-3)
    networks = [load_model(runs / name / "last").network for name in ("deep", "deep_fsdp")]
    for ours, theirs in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=3e-4)  # a step is 0.001 at most


def test_a_process_without_a_scan_to_validate_on_comes_along(runs: Path) -> None:
    for name in ("deep", "deep_fsdp"):
        assert read_description(runs / name / "last").provenance["scores"]["val/dice"] > 0


def test_slow_encoders_have_the_losses_and_queues_of_one_process(runs: Path) -> None:
    whole, *parts = (torch.load(runs / name) for name in ("slow_one.0", "slow_two.0", "slow_two.1"))
    torch.testing.assert_close(sum(part["found"] for part in parts) / 2, whole["found"], rtol=1e-4, atol=1e-5)
    assert not torch.equal(parts[0]["found"], parts[1]["found"])
    torch.testing.assert_close(parts[0]["centre"], whole["centre"])
    for name in ("centre", "queue", "queue_scans"):
        assert torch.equal(parts[0][name], parts[1][name])
    keys = [sorted(map(tuple, part["queue"].round(decimals=4).tolist())) for part in (parts[0], whole)]
    torch.testing.assert_close(torch.tensor(keys[0]), torch.tensor(keys[1]), rtol=0, atol=2e-4)


@pytest.mark.parametrize("kind", ["encoder", "body"])
def test_pre_training_with_divided_weights(runs: Path, kind: str) -> None:
    assert losses(runs, f"{kind}_fsdp.0") == pytest.approx(losses(runs, f"{kind}.0"), rel=1e-4)
    ours, theirs = (read_weights(runs / name / "best") for name in (kind, f"{kind}_fsdp"))
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(theirs[key], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("squared", [False, True])
def test_dice_over_a_batch_is_that_of_monai(squared: bool) -> None:
    scores = torch.randn(2, 3, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    classes = torch.randint(0, 3, (2, 1, 5, 6, 7), generator=torch.Generator().manual_seed(1))
    expected = DiceLoss(softmax=True, to_onehot_y=True, batch=True, squared_pred=squared)(scores, classes)
    truth = torch.zeros_like(scores).scatter_(1, classes, 1.0)
    assert float(batch_dice(scores.softmax(1), truth, squared=squared).mean()) == pytest.approx(float(expected), 1e-5)
