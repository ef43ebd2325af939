"""Fine-tuning from carried-over weights on phantoms: frozen, slower, sawtooth; stopped, resumed, repeated."""

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_parts import At

from finetune import run as finetune_run
from finetune.config import FinetuneConfig
from finetune.run import finetune
from swin_unetr.checkpoints import load_model
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task, exclusive

NETWORK = {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]}
VALUES: dict[str, Any] = {
    "network": NETWORK,
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16]},
    "optimizer": {"learning_rate": 0.01, "warmup_share": 0.1, "gradient_clip": 1.0, "decay_all": False},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}
TRAINER = {"accelerator": "cpu", "ema_decay": 0.9, "validations": 2, "max_steps": 8, "accumulate_batches": 2}


def tiny(trainer: dict[str, Any] | None = None, **transfer: Any) -> FinetuneConfig:
    values = {**VALUES, "trainer": {**TRAINER, **(trainer or {})}, "transfer": transfer}
    return from_dict(FinetuneConfig, values, source="test")


@pytest.fixture
def start(make_model: Callable[..., Path]) -> Path:
    task = Task(name="other", modality="CT", channels=("CT",), targets=exclusive(("a", "b")))
    network = {key: tuple(value) if isinstance(value, list) else value for key, value in NETWORK.items()}
    return make_model("start", task, **network)


def at_steps(monkeypatch, steps: list[int], action) -> None:
    build = finetune_run.build_trainer

    def watched(*args, callbacks, **named):
        return build(*args, callbacks=[*callbacks, *(At(step, action) for step in steps)], **named)

    monkeypatch.setattr(finetune_run, "build_trainer", watched)


def table(run: Path) -> list[dict[str, str]]:
    rows = csv.DictReader((run / "metrics.csv").open())
    return [{key: value for key, value in row.items() if key not in ("seconds", "loader_share")} for row in rows]


@pytest.mark.slow
def test_frozen_until_the_step_and_the_same_when_stopped_within_and_after(
    phantom_data: Path, tmp_path: Path, start: Path, monkeypatch
) -> None:
    config = tiny(freeze_steps=4, rate=0.5, layer_decay=0.8)
    carried = load_model(start).network.state_dict()
    seen = {}

    def look(trainer, module) -> None:
        now = module.network.state_dict()
        seen[trainer.global_step] = {name for name, value in now.items() if torch.equal(value, carried[name])}

    with monkeypatch.context() as patch:
        at_steps(patch, [3, 4, 5], look)
        finetune(config, data=phantom_data, output=tmp_path / "whole", init=start)
    recorded = json.loads((tmp_path / "whole" / "run.json").read_text())["carried_over"]
    parts = {name for name in carried if not name.startswith("head.")}
    assert set(recorded) == parts
    assert seen[3] == seen[4] == parts
    assert not any(name.endswith("conv1.weight") for name in seen[5])
    rows = table(tmp_path / "whole")
    names = ["learning_rate/carried", "learning_rate/carried_1", "learning_rate/carried_2", "learning_rate/carried_3"]
    assert [float(rows[0][name]) for name in names] == [0.0] * 4
    for steps, name in enumerate(names):
        expected = 0.5 * 0.8**steps * float(rows[1]["learning_rate"])
        assert float(rows[1][name]) == pytest.approx(expected, rel=1e-4)

    for step in (2, 6):
        with monkeypatch.context() as patch:
            at_steps(patch, [step], lambda *_: signal.raise_signal(signal.SIGTERM))
            with pytest.raises(KeyboardInterrupt):
                finetune(config, data=phantom_data, output=tmp_path / "run", init=start, resume=True)
    finetune(config, data=phantom_data, output=tmp_path / "run", resume=True)
    assert table(tmp_path / "run") == rows
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_a_sawtooth_of_time_is_repeated_by_its_schedule(
    phantom_data: Path, tmp_path: Path, start: Path, monkeypatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.4
        return now

    build = finetune_run.build_trainer
    monkeypatch.setattr(finetune_run, "build_trainer", lambda *args, **named: build(*args, timer=clock, **named))
    monkeypatch.setattr(finetune_run.FinetuneModule, "validation_seconds", lambda _: 1.0)
    saw = {"schedule": "sawtooth", "fresh_share": 0.5, "rate": 0.5}
    timed = {"max_steps": None, "max_time": "16s"}
    finetune(tiny(timed, **saw), data=phantom_data, output=tmp_path / "timed", init=start)
    repeated = {"max_steps": None, "schedule": str(tmp_path / "timed")}
    finetune(tiny(repeated, **saw), data=phantom_data, output=tmp_path / "again", init=start)
    rows = table(tmp_path / "timed")
    assert [float(row["learning_rate/carried"]) > 0 for row in rows] == [False, True]
    assert table(tmp_path / "again") == rows
    assert_same_weights(tmp_path / "timed", tmp_path / "again")


def test_without_weights_and_without_fresh_ones_a_run_is_refused(
    phantom_data: Path, tmp_path: Path, start: Path, capsys, make_model: Callable[..., Path]
) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps({**VALUES, "trainer": TRAINER}))
    given = ["--config", str(tmp_path / "recipe.yaml"), "--data", str(phantom_data), "--output", str(tmp_path / "run")]
    assert main(["finetune", *given, "--transfer.rate", "0.1"]) == 2
    assert "transfer.rate: is for weights that --init carries over" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    finished = make_model(
        "finished",
        Task(name="same", modality="CT", channels=("CT",), targets=exclusive(tuple("abcde"))),
        **{key: tuple(value) if isinstance(value, list) else value for key, value in NETWORK.items()},
    )
    with pytest.raises(ConfigError, match=r"transfer\.freeze_steps: every weight of the network was carried over"):
        finetune(tiny(freeze_steps=1), data=phantom_data, output=tmp_path / "run", init=finished)
    with pytest.raises(ConfigError, match=r"fresh_share: 0\.9 and a warm-up of 0\.1"):
        tiny(schedule="sawtooth", fresh_share=0.9)


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_model(run / "last").network.state_dict() for run in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
