"""Budgets of steps and of time on phantoms, by an injected clock: commands, record, repetition, refusal."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_parts import At

import swin_unetr
from finetune import run as finetune_run
from finetune.config import FinetuneConfig
from finetune.module import FinetuneModule
from finetune.run import finetune
from pretrain import run as pretrain_run
from pretrain.config import PretrainConfig
from pretrain.run import pretrain
from swin_unetr.checkpoints import load_model
from swin_unetr.checkpoints.model_folder import read_weights
from swin_unetr.cli import main
from swin_unetr.config_io import from_dict, load

TINY: dict[str, Any] = {
    "network": {"feature_size": 4, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4, 4]},
    "preprocess": {"intensity": {"scheme": "hu_window"}, "crop_foreground": False},
    "sampling": {"crop_size": [16, 16, 16], "crops_per_scan": 2},
    "augment": {"intensity_shift_probability": 1.0, "affine_probability": 0.5},
    "optimizer": {"learning_rate": 0.01, "warmup_share": 0.1},
    "inference": {"roi_size": [32, 32, 24], "overlap": 0.0},
    "validation_overlap": 0.0,
    "num_folds": 3,
}
TRAINER = {"accelerator": "cpu", "ema_decay": 0.9, "validations": 2}


def tiny(**trainer: Any) -> FinetuneConfig:
    return from_dict(FinetuneConfig, {**TINY, "trainer": {**TRAINER, **trainer}}, source="test")


class Clock:
    """Moves with every look at it, unevenly."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.2 + (self.now * 0.7919) % 0.3
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """What the budgets of the test's trainings read."""
    clock = Clock()
    for module in (finetune_run, pretrain_run):
        build = module.build_trainer
        monkeypatch.setattr(
            module, "build_trainer", lambda *args, build=build, **named: build(*args, timer=clock, **named)
        )
    monkeypatch.setattr(FinetuneModule, "validation_seconds", lambda _: 1.0)
    return clock


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([value.flatten() for value in load_model(folder).network.state_dict().values()])


def losses(run: Path) -> list[tuple[str, ...]]:
    names = ("epoch", "step", "learning_rate", "train/loss", "val/dice", "val/smoothed_pooled_dice")
    return [tuple(row[name] for name in names) for row in csv.DictReader((run / "metrics.csv").open())]


def test_a_run_of_time_is_repeated_to_the_last_bit(phantom_data: Path, tmp_path: Path, clock: Clock) -> None:
    run = tmp_path / "run"
    result = finetune(tiny(max_time="20s"), data=phantom_data, output=run)
    record = json.loads((run / "run.json").read_text())
    assert record["budget"]["seconds"] == 20
    assert record["budget"]["spent_seconds"] == pytest.approx(20, rel=0.1)
    assert record["budget"]["epoch_ends"][-1] == record["budget"]["steps"] > 10  # four steps are a pass
    assert record["best"]["reason"] == "end of training"
    assert result.epochs == len(record["budget"]["epoch_ends"]) == 2
    finetune(tiny(schedule=str(run)), data=phantom_data, output=tmp_path / "again")
    assert losses(tmp_path / "again") == losses(run)
    for name in ("best", "last"):
        assert torch.equal(weights(run / name), weights(tmp_path / "again" / name))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stop_and_a_resume_within_and_between_epochs(phantom_data, tmp_path, monkeypatch, workers: int) -> None:
    sampling = {**TINY["sampling"], "num_workers": workers}
    config = from_dict(
        FinetuneConfig, {**TINY, "sampling": sampling, "trainer": {**TRAINER, "max_steps": 11}}, source=""
    )
    finetune(config, data=phantom_data, output=tmp_path / "whole")
    build = finetune_run.build_trainer

    def broken(*args, callbacks, **named):
        stop = At(steps.pop(0), lambda *_: signal.raise_signal(signal.SIGTERM))
        return build(*args, callbacks=[*callbacks, stop], **named)

    monkeypatch.setattr(finetune_run, "build_trainer", broken)
    steps = [3, 6, 9]  # the first epoch ends with step 6
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            finetune(config, data=phantom_data, output=tmp_path / "run", resume=True)
    monkeypatch.undo()
    finetune(config, data=phantom_data, output=tmp_path / "run", resume=True)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert torch.equal(weights(tmp_path / "run" / "last"), weights(tmp_path / "whole" / "last"))


def test_pre_training_too(phantom_data: Path, tmp_path: Path, clock: Clock, monkeypatch) -> None:
    values: dict[str, Any] = {key: TINY[key] for key in ("network", "preprocess", "optimizer")}
    values |= {"scans": {"crop_size": [16, 16, 16], "visits_per_epoch": 2}}

    def encoder(**trainer: Any) -> PretrainConfig:
        return from_dict(PretrainConfig, {**values, "trainer": {**TRAINER, **trainer}}, source="test")

    build = pretrain_run.build_trainer

    def stopped(*args, callbacks, **named):
        stop = At(5, lambda *_: signal.raise_signal(signal.SIGTERM))
        return build(*args, callbacks=[*callbacks, stop], **named)

    pretrain(encoder(max_steps=10), data=[phantom_data], output=tmp_path / "steps")
    run = tmp_path / "stopped"
    monkeypatch.setattr(pretrain_run, "build_trainer", stopped)
    with pytest.raises(KeyboardInterrupt):
        pretrain(encoder(max_steps=10), data=[phantom_data], output=run)
    monkeypatch.setattr(pretrain_run, "build_trainer", build)
    assert pretrain(encoder(max_steps=10), data=[phantom_data], output=run, resume=True).epochs == 2
    assert (run / "metrics.csv").read_text().count("\n") == 3
    both = [read_weights(each / "last") for each in (run, tmp_path / "steps")]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])
    pretrain(encoder(max_time="20s"), data=[phantom_data], output=tmp_path / "time")
    budget = json.loads((tmp_path / "time" / "run.json").read_text())["budget"]
    assert budget["spent_seconds"] == pytest.approx(20, rel=0.1)


def test_commands(phantom_data: Path, tmp_path: Path, capsys, clock: Clock) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps({**TINY, "trainer": {**TRAINER, "max_epochs": 300}}))
    arguments = ["finetune", "--config", str(recipe), "--data", str(phantom_data), "--output"]
    assert main([*arguments, str(tmp_path / "run"), "--steps", "6"]) == 0
    assert "2 epochs in" in capsys.readouterr().out
    assert main([*arguments, str(tmp_path / "run"), "--resume", "auto"]) == 2
    words = "its run began with trainer.max_steps 6, and cannot go on with trainer.max_epochs; give --trainer.max_steps"
    assert words in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "run"), "--resume", "auto", "--steps", "9"]) == 0
    out = ["--data", str(phantom_data), "--output", str(tmp_path / "again")]
    assert main(["finetune", "--schedule", str(tmp_path / "run"), *out]) == 0
    assert [row[1] for row in losses(tmp_path / "again")] == [row[1] for row in losses(tmp_path / "run")]


@pytest.mark.parametrize("folds", [[], ["--folds", "all"]])
def test_a_time_that_is_too_short_leaves_nothing_behind(
    phantom_data: Path, tmp_path: Path, capsys, monkeypatch, clock: Clock, folds: list[str]
) -> None:
    monkeypatch.setattr(FinetuneModule, "validation_seconds", lambda _: 40.0)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps({**TINY, "trainer": TRAINER}))
    arguments = ["finetune", "--config", str(recipe), "--data", str(phantom_data), "--output", str(tmp_path / "run")]
    assert main([*arguments, *folds, "--time", "30s"]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if not text.startswith("warning")]
    assert "trainer.max_time: 30 s is too short for a single validation, which takes about 40 s" in line
    assert not (tmp_path / "run").exists()


def test_a_validation_is_timed_by_one_scan(phantom_data: Path, tmp_path: Path, monkeypatch) -> None:
    """Here the real clock runs; nothing is asserted of its seconds."""
    asked: list[float] = []
    original = FinetuneModule.validation_seconds

    def watched(self: FinetuneModule) -> float:
        asked.append(original(self))
        return asked[-1]

    monkeypatch.setattr(FinetuneModule, "validation_seconds", watched)
    finetune(tiny(max_time="5s", validations=1), data=phantom_data, output=tmp_path / "run")
    assert 1 <= len(asked) <= 2  # before the first step, and again shortly before the validation is due
    assert min(asked) > 0
    assert len(losses(tmp_path / "run")) == 1


def test_a_plan_for_a_time_is_a_recipe_with_it(phantom_data: Path, tmp_path: Path) -> None:
    made = swin_unetr.plan(phantom_data, tmp_path, max_time="1h", memory="8GB")
    values = {choice.path: choice.value for choice in made.choices}
    assert values["trainer.max_time"] == "1h"
    assert values["optimizer.warmup_share"] == 0.04
    assert not {"trainer.max_epochs", "optimizer.warmup_epochs"} & values.keys()
    assert "1h, about " in made.table()
    config = load(FinetuneConfig, tmp_path / "plan.yaml")
    assert config.trainer.budget == ("max_time",)
    with pytest.raises(swin_unetr.errors.ConfigError, match="time: 'long' is no length of time"):
        swin_unetr.plan(phantom_data, tmp_path / "other", max_time="long")
