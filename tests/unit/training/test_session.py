"""What every run goes through: nothing is written before it can start, and its record is kept however it ends."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_parts import At

from swin_unetr.config import SpeedConfig, TrainerConfig
from swin_unetr.errors import ConfigError
from swin_unetr.training.run_folder import CHECKPOINT, CONFIG
from swin_unetr.training.run_record import RECORD, read_record
from swin_unetr.training.session import Session

EPOCHS = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str = "line"
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(max_epochs=EPOCHS, validate_every=2, accelerator="cpu", seed=5)
    )


def opened(folder: Path, *, resume: bool = False, name: str = "line") -> Session[Config]:
    return Session.open(folder, Config(name=name), start=None, resume=resume, may_change=())


def run(session: Session[Config], line, callbacks=(), facts: dict[str, Any] | None = None, save=None) -> float:
    speed = SpeedConfig(tf32=False, fused_optimizer=False)
    facts = {**(facts or {}), **session.facts(speed, {"attention": "explicit"}, init=[], init_preprocess={})}
    trainer, module, data = line(session.folder, EPOCHS, callbacks=callbacks)
    return session.run(trainer, module, data, speed=speed, facts=facts, results=lambda: {"best": "the line"}, save=save)


def test_a_run_leaves_its_configuration_and_its_record(line, tmp_path: Path) -> None:
    session = opened(tmp_path / "run")
    assert (session.checkpoint, session.before) == (None, {})
    session.seed()
    assert not session.folder.exists()  # nothing is written before it runs
    there = []
    seconds = run(session, line, facts={"kind": "line"}, save=lambda: there.extend(session.folder.iterdir()))
    assert [path.name for path in there] == [CONFIG]  # `save` comes between the two
    session.add_results(transfer="all of it")
    record = read_record(session.folder / RECORD)
    assert [entry["status"] for entry in record["sessions"]] == ["finished"]
    assert record["epochs"] == EPOCHS
    assert record["seconds"] == round(seconds, 1)
    assert (record["kind"], record["best"], record["transfer"]) == ("line", "the line", "all of it")
    assert (record["seed"], record["precision"], record["config"]["name"]) == (5, "32-true", "line")
    assert record["fast_paths"] == {"attention": "explicit", "fused_optimizer": False, "tf32": False}


def test_a_seeded_session_draws_the_same_numbers(tmp_path: Path) -> None:
    session = opened(tmp_path / "run")
    session.seed()
    first = torch.rand(3)
    session.seed()
    assert torch.equal(torch.rand(3), first)


def fail(trainer, module) -> None:
    raise RuntimeError("power cut")


def stop(trainer, module) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("action", "error", "status"), [(fail, RuntimeError, "failed"), (stop, KeyboardInterrupt, "stopped")]
)
def test_the_record_says_how_a_run_ended(line, tmp_path: Path, action, error, status: str) -> None:
    session = opened(tmp_path / "run")
    with pytest.raises(error):
        run(session, line, callbacks=[At(10, action)], facts={"contents": 1})
    record = read_record(session.folder / RECORD)
    assert [entry["status"] for entry in record["sessions"]] == [status]
    assert (record["epochs"], record["best"]) == (2, "the line")

    again = opened(session.folder, resume=True)
    assert again.checkpoint == session.folder / CHECKPOINT
    assert again.before["contents"] == 1
    run(again, line, facts={"contents": 2})
    record = read_record(session.folder / RECORD)
    assert [entry["status"] for entry in record["sessions"]] == [status, "finished"]
    assert (record["epochs"], record["contents"]) == (EPOCHS, 2)


def test_what_a_run_started_from_is_kept_by_a_resume(tmp_path: Path) -> None:
    session = opened(tmp_path / "run")
    session.before = {"init": ["12 tensors"], "init_source": {"path": "weights"}, "init_preprocess": {"choice": "take"}}
    facts = session.facts(SpeedConfig(), {}, init=[], init_preprocess={})
    assert {key: facts[key] for key in session.before} == session.before


def test_a_folder_in_use_is_refused(line, tmp_path: Path) -> None:
    session = opened(tmp_path / "run")
    run(session, line)
    with pytest.raises(ConfigError, match="is not empty"):
        opened(session.folder)
    with pytest.raises(ConfigError, match=r"name \(was line, now curve\)"):
        opened(session.folder, resume=True, name="curve")
