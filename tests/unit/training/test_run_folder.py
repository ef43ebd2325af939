"""Run folders: what may start or go on where, and what is recorded."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from swin_unetr.config import OptimizerConfig, TrainerConfig
from swin_unetr.config_io import load
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.training.run_folder import CHECKPOINT, check_run_folder, write_config
from swin_unetr.training.run_record import RunRecord, read_record

MAY_CHANGE = ("cache", "optimizer", "trainer.max_epochs")


@dataclass(frozen=True, kw_only=True)
class Config:
    trainer: TrainerConfig = TrainerConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    cache: bool = True
    spacing_mm: tuple[float, float] | None = (1.0, 2.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write_config(folder, Config())
    (folder / CHECKPOINT).parent.mkdir()
    (folder / CHECKPOINT).touch()
    return folder


def test_a_new_or_empty_folder_starts(tmp_path: Path) -> None:
    for resume in (False, True):
        assert check_run_folder(tmp_path / "new", Config(), resume=resume, may_change=()) is None
        assert check_run_folder(tmp_path, Config(), resume=resume, may_change=()) is None
    assert not (tmp_path / "new").exists()


def test_the_configuration_that_is_written_is_a_recipe(run: Path) -> None:
    assert load(Config, run / "config.yaml") == Config()


def test_a_used_folder_says_how_to_resume(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not empty.*--resume auto"):
        check_run_folder(run, Config(), resume=False, may_change=MAY_CHANGE)
    assert check_run_folder(run, Config(), resume=True, may_change=()) == run / CHECKPOINT


def test_a_run_that_broke_before_its_first_checkpoint_starts_again(run: Path) -> None:
    (run / CHECKPOINT).unlink()
    assert check_run_folder(run, Config(cache=False), resume=True, may_change=()) is None


@pytest.mark.parametrize("name", ["notes.txt", "."])
def test_a_foreign_folder_or_file_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="another --output"):
        check_run_folder(tmp_path / name, Config(), resume=True, may_change=())


def test_what_differs_is_named(run: Path) -> None:
    other = Config(
        trainer=TrainerConfig(seed=3, max_epochs=400),
        optimizer=OptimizerConfig(learning_rate=1.0),
        spacing_mm=None,
        cache=False,
    )
    with pytest.raises(ConfigError) as caught:
        check_run_folder(run, other, resume=True, may_change=MAY_CHANGE)
    message = str(caught.value)
    assert "trainer.seed (was 0, now 3); spacing_mm (was [1.0, 2.0], now None)" in message
    assert "\n" not in message
    allowed = replace(other, trainer=TrainerConfig(max_epochs=400), spacing_mm=(1.0, 2.0))
    assert check_run_folder(run, allowed, resume=True, may_change=MAY_CHANGE) == run / CHECKPOINT


def test_the_record_keeps_every_session(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    first = RunRecord(path, {"seed": 3})
    assert read_record(path)["sessions"][0]["status"] == "running"
    first.close("stopped", epochs=2)
    second = RunRecord(path, {"seed": 3})
    second.close("finished", epochs=5, best={"score": float("nan")})
    record = json.loads(path.read_text())
    assert (record["seed"], record["epochs"], record["best"]) == (3, 5, {"score": None})
    assert [session["status"] for session in record["sessions"]] == ["stopped", "finished"]
    session = record["sessions"][-1]
    assert {"python", "torch", "monai", "lightning"} <= session["versions"].keys()
    assert session["started"] <= session["ended"]
    assert session["command"]
    assert session["machine"]["cores"] >= 1


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]"):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(DataError, match=r"run\.json"):
            RunRecord(tmp_path / "run.json", {})
