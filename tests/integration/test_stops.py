"""A stop as `timeout`, SLURM and Ctrl-C send it: to every process of a command, those that read data included."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from processes import becomes_true, left_of_group
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")

EPOCHS = 12
TINY = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "optimizer": {"learning_rate": 0.01, "warmup_epochs": 1},
    "trainer": {"max_epochs": EPOCHS, "validate_every": 4, "accelerator": "cpu"},
}
RECIPES = {
    "finetune": {
        **TINY,
        "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 2, "num_workers": 2},
        "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
        "num_folds": 2,
    },
    "pretrain": {**TINY, "scans": {"crop_size": [16, 16, 16], "visits_per_epoch": 2, "num_workers": 2}},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[[str], Path]:
    """Write the recipe of a command; gives its file."""

    def write(name: str) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(RECIPES[name]))
        return path

    return write


def stopped_by(number: int, arguments: list[object], until: Callable[[], bool]) -> tuple[int, str]:
    """Run a command in a process group, which gets a signal once something holds: exit code and all output."""
    process = subprocess.Popen(
        [sys.executable, "-m", "swin_unetr", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not until():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.killpg(process.pid, number)
        text, _ = process.communicate(timeout=200)
    finally:
        process.kill()
    assert becomes_true(lambda: not left_of_group(process.pid))
    assert "Traceback" not in text
    assert "memory" not in text
    return process.returncode, text


def has_trained(run: Path) -> bool:
    """Whether an epoch is done: the table has a line beside the names of its columns."""
    table = run / "metrics.csv"
    return table.is_file() and len(table.read_text().splitlines()) > 1


def advice(text: str) -> list[str]:
    """The words of the last command that is said to go on."""
    return shlex.split([line for line in text.splitlines() if line.startswith("to go on: ")][-1])[3:]


def same_weights(run: Path, other: Path) -> bool:
    ours, theirs = (load_file(folder / "last" / "model.safetensors") for folder in (run, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(("name", "number"), [("finetune", signal.SIGTERM), ("pretrain", signal.SIGTERM)])
def test_a_training_with_workers_saves_and_goes_on_as_if_nothing_had_been(
    phantom_data: Path, tmp_path: Path, recipe, name: str, number: int
) -> None:
    from finetune.run import finetune
    from pretrain.run import pretrain

    run, config = tmp_path / "run", recipe(name)
    arguments = [name, "--config", config, "--data", phantom_data, "--output", run]
    code, text = stopped_by(number, arguments, lambda: has_trained(run))
    assert code == 128 + number, text
    assert "stopping after this step" in text
    assert text.splitlines()[-1] == f"swin-unetr {name}: stopped by SIGTERM"
    assert advice(text) == ["swin-unetr", *map(str, arguments), "--resume", "auto"]
    record = json.loads((run / "run.json").read_text())
    assert record["sessions"][-1]["status"] == "stopped"
    assert record["epochs"] < EPOCHS

    given = {"data": phantom_data if name == "finetune" else [phantom_data]}
    train = finetune if name == "finetune" else pretrain
    assert train(config, output=run, resume=True, **given).epochs == EPOCHS
    train(config, output=tmp_path / "undisturbed", **given)
    assert same_weights(run, tmp_path / "undisturbed")


def test_a_stop_before_the_first_step_ends_at_once_and_can_be_gone_on_with(
    phantom_data: Path, tmp_path: Path, recipe
) -> None:
    run = tmp_path / "run"
    arguments = ["finetune", "--config", recipe("finetune"), "--data", phantom_data, "--output", run]
    code, text = stopped_by(signal.SIGINT, arguments, (tmp_path / "store").is_dir)
    assert code == 130, text
    assert advice(text) == ["swin-unetr", *map(str, arguments), "--resume", "auto"]


def test_folds_in_processes_of_their_own_are_all_saved(phantom_data: Path, tmp_path: Path, recipe) -> None:
    run = tmp_path / "run"
    arguments = ["finetune", "--config", recipe("finetune"), "--data", phantom_data, "--output", run]
    arguments += ["--folds", "all", "--parallel", "2", "--trainer.max_epochs", "500"]  # none ends by itself

    def training() -> bool:
        return all(has_trained(run / f"fold_{fold}") for fold in range(2))

    code, text = stopped_by(signal.SIGTERM, arguments, training)
    assert code == 143, text
    assert advice(text) == ["swin-unetr", *map(str, arguments), "--resume", "auto"]
    for fold in range(2):
        assert f"fold {fold}: stopped" in text
        assert json.loads((run / f"fold_{fold}" / "run.json").read_text())["sessions"][-1]["status"] == "stopped"
