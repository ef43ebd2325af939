"""Trainings that end with their time or their steps, by a clock that only the tests move."""

import csv
import json
import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_parts import METRICS, STEPS, At, Line, Points, save_line, weights
from torch.utils.data import DataLoader, Dataset

from swin_unetr.config import OptimizerConfig, TrainerConfig
from swin_unetr.errors import ConfigError
from swin_unetr.training import ModelFolders, TrainingStopped, build_trainer, train
from swin_unetr.training.budget import BudgetTooShortError, budget_of, configure_optimizers
from swin_unetr.training.run_folder import CHECKPOINT
from swin_unetr.training.sampler import VisitSampler
from swin_unetr.training.schedule import SCHEDULE


class Clock:
    """Stands still but where the training moves it: `step` and `validation` are seconds, or functions of the time."""

    def __init__(self, step: Any = 1.0, validation: Any = 0.0) -> None:
        self.now, self.step, self.validation = 1000.0, step, validation

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: Any) -> None:
        self.now += seconds(self.now) if callable(seconds) else seconds


class TimedLine(Line):
    """A line whose steps and validations take the time that the clock says; it counts what it does."""

    def __init__(self, clock: Clock, config: TrainerConfig) -> None:
        super().__init__(0)
        self.clock, self.config = clock, config
        self.losses: list[float] = []
        self.rates: list[float] = []
        self.visited: list[tuple[float, ...]] = []
        self.validated_at: list[float] = []

    def training_step(self, batch, batch_idx):
        self.clock.pass_(self.clock.step)
        self.visited.append(tuple(batch[:, 0].tolist()))
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        loss = super().training_step(batch, batch_idx)
        self.losses.append(float(loss.detach()))
        return loss

    def on_validation_epoch_end(self) -> None:
        self.clock.pass_(self.clock.validation)
        self.validated_at.append(self.clock.now)

    def configure_optimizers(self) -> dict[str, Any]:
        config = OptimizerConfig(learning_rate=0.02, warmup_share=0.1)
        return configure_optimizers(self.trainer, self.parameters(), config, self.config, False)


class Knowing(TimedLine):
    """Knows how long its validation takes."""

    asked = 0

    def validation_seconds(self) -> float:
        self.asked += 1
        return self.clock.validation(self.clock.now) if callable(self.clock.validation) else self.clock.validation


class Visited(Dataset):
    def __init__(self, points: torch.Tensor) -> None:
        self.points = points

    def __getitem__(self, visit) -> torch.Tensor:
        return self.points[visit.scan]


class Stream(Points):
    """The points in a new order in every pass, two a step."""

    steps_per_epoch = STEPS

    def train_dataloader(self):
        sampler = VisitSampler(len(self.points), batch=2, seed=3).in_training(self.trainer)
        return DataLoader(Visited(self.points), batch_size=2, sampler=sampler)


def run(folder: Path, clock: Clock, callbacks=(), *, resume=False, kind=TimedLine, **options: Any) -> TimedLine:
    config = TrainerConfig(**{"accelerator": "cpu", "ema_decay": 0.9, **options})
    folders = ModelFolders(folder, "val/dice", save_line)
    trainer = build_trainer(
        config, folder, monitor="val/dice", metrics=METRICS, callbacks=[folders, *callbacks], timer=clock
    )
    module = kind(clock, config)
    train(trainer, module, Stream(), resume_from=folder / CHECKPOINT if resume else None)
    return module


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").open()))


def ends(folder: Path) -> list[int]:
    return json.loads((folder / SCHEDULE).read_text())["epoch_ends"]


def stop(*_) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail(*_) -> None:
    raise RuntimeError("power cut")


def test_steps_are_made_in_even_epochs_each_with_a_validation(tmp_path: Path) -> None:
    module = run(tmp_path, Clock(), max_steps=22, validations=3)
    assert len(module.losses) == 22
    assert ends(tmp_path) == [7, 15, 22]
    rows = table(tmp_path)
    assert [(row["epoch"], row["step"], bool(row["val/dice"])) for row in rows] == [
        ("1", "7", True),
        ("2", "15", True),
        ("3", "22", True),
    ]
    assert module.rates[0] == pytest.approx(0.02 * (0 + 1 / 22) / (0.1 + 1 / 22))
    assert max(module.rates) == pytest.approx(0.02, rel=0.01)
    assert 0 < module.rates[-1] < 0.02 * 0.02
    assert float(rows[1]["learning_rate"]) == pytest.approx(module.rates[7], rel=1e-4)
    saved = torch.load(tmp_path / "last" / "line.pt")
    assert saved["epoch"] == 3
    assert torch.equal(torch.cat([value.flatten() for value in saved["weights"].values()]), weights(module))


def test_every_pass_visits_every_point_though_epochs_end_within_it(tmp_path: Path) -> None:
    module = run(tmp_path, Clock(), max_steps=22, validations=3)
    passes = [module.visited[start : start + STEPS] for start in range(0, 20, STEPS)]
    everything = sorted(Points().points[:, 0].tolist())
    assert all(sorted(point for step in each for point in step) == everything for each in passes)
    assert len({str(each) for each in passes}) == 5  # in another order each time


@pytest.mark.parametrize(
    ("validations", "step", "validation"), [(1, 1.0, 6.0), (5, 3.7, 20.0), (2, 2.0, 9.0), (1, 20.0, 30.0)]
)
def test_time_ends_with_the_last_validation(tmp_path: Path, validations: int, step: float, validation: float) -> None:
    clock = Clock(step, validation)
    module = run(tmp_path, clock, kind=Knowing, max_time="300s", validations=validations)
    assert clock.now - 1000 == pytest.approx(300, abs=0.5 * step + 0.2 * validation)
    assert module.asked >= 1
    number = validations if validations * validation <= 75 else int(75 / validation)
    assert len(module.validated_at) == len(ends(tmp_path)) == number
    wanted = [1000 + 300 * (part + 1) / number for part in range(number)]
    assert module.validated_at == pytest.approx(wanted, abs=step + 0.2 * validation)
    assert ends(tmp_path)[-1] == len(module.losses)


def test_the_rate_follows_the_time_not_the_steps(tmp_path: Path) -> None:
    slow = Clock(lambda now: 1.0 if now < 1100 else 4.0)  # another program begins
    module = run(tmp_path, slow, max_time="200s", validations=2)
    half = next(index for index, rate in enumerate(module.rates) if index > 30 and rate < 0.01)
    assert half == pytest.approx(102, abs=4)  # spent 110 of 200 seconds: half-way from the warm-up's end
    assert len(module.losses) == pytest.approx(125, abs=2)
    assert module.rates[-1] < 0.02 * 0.01
    assert slow.now - 1000 == pytest.approx(200, abs=4)


def test_a_machine_that_becomes_busy_still_ends_in_time(tmp_path: Path) -> None:
    clock = Clock(lambda now: 2 if now < 1200 else 6, lambda now: 10 if now < 1200 else 30)
    run(tmp_path, clock, kind=Knowing, max_time="10min", validations=2)
    assert clock.now - 1000 == pytest.approx(600, rel=0.05)


@pytest.mark.parametrize("later", [8, 30])
def test_a_single_validation_is_estimated_anew_before_it_comes(tmp_path: Path, later: int) -> None:
    clock = Clock(1.0, lambda now: 20 if now < 1100 else later)  # steps do not show that the machine has changed
    module = run(tmp_path, clock, kind=Knowing, max_time="5min", validations=1)
    assert clock.now - 1000 == pytest.approx(300, rel=0.02)
    assert 2 <= module.asked <= 6


def test_less_validations_where_they_take_long_and_it_is_said(tmp_path: Path, capsys) -> None:
    module = run(tmp_path, Clock(1, 30), kind=Knowing, max_time="5min", validations=5)
    assert len(module.validated_at) == 2
    assert "validations: 2 rather than 5, since each takes about 30 s" in capsys.readouterr().out


def test_a_time_that_is_too_short_is_refused_with_the_least_that_would_do(tmp_path: Path) -> None:
    with pytest.raises(BudgetTooShortError) as caught:
        run(tmp_path / "short", Clock(2, 60), kind=Knowing, max_time="1min")
    assert str(caught.value) == (
        "trainer.max_time: 1 min is too short for a single validation, which takes about 1 min on this machine; give "
        "at least 1 min 25 s"
    )
    assert caught.value.exit_code == 2
    clock = Clock(2, 60)
    module = run(tmp_path / "enough", clock, kind=Knowing, max_time="1min 25s")
    assert len(module.validated_at) == 1
    assert clock.now - 1000 <= 1.05 * 85


@pytest.mark.parametrize(
    ("step", "options"),
    [(5, {"max_time": "30s"}), (10, {"max_time": "30s"}), (9, {"max_steps": 30}), (10, {"max_steps": 30})],
)
def test_a_stopped_run_spends_what_is_left(tmp_path: Path, step: int, options) -> None:
    clock = Clock()
    with pytest.raises(TrainingStopped):
        run(tmp_path, clock, [At(step, stop)], validations=3, **options)
    clock.now += 5000  # nobody trains
    module = run(tmp_path, clock, resume=True, validations=3, **options)
    assert step + len(module.losses) == 30
    assert ends(tmp_path) == [10, 20, 30]
    assert [int(row["step"]) for row in table(tmp_path)] == [10, 20, 30]
    assert clock.now - 1000 == 5030


@pytest.mark.parametrize("step", [5, 10, 21])
def test_a_stopped_run_of_steps_goes_on_as_if_it_had_not_been(tmp_path: Path, step: int) -> None:
    whole = run(tmp_path / "whole", Clock(), max_steps=30, validations=3)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", Clock(), [At(step, stop)], max_steps=30, validations=3)
    module = run(tmp_path / "run", Clock(), resume=True, max_steps=30, validations=3)
    assert module.losses == whole.losses[step:]
    assert module.visited == whole.visited[step:]
    assert torch.equal(weights(module), weights(whole))


def test_a_run_is_repeated_to_the_last_bit_whatever_the_clock_says(tmp_path: Path) -> None:
    uneven = Clock(lambda now: 0.3 + 7 * (now * 0.7919 % 1), 4.0)
    with pytest.raises(TrainingStopped):
        run(tmp_path / "run", uneven, [At(23, stop)], kind=Knowing, max_time="4min", validations=4)
    with pytest.raises(RuntimeError, match="power cut"):
        run(tmp_path / "run", uneven, [At(31, fail)], resume=True, kind=Knowing, max_time="5min", validations=4)
    first = run(tmp_path / "run", uneven, resume=True, kind=Knowing, max_time="5min", validations=4)
    again = run(tmp_path / "again", Clock(1e6), schedule=str(tmp_path / "run"))
    assert again.losses[-len(first.losses) :] == first.losses
    assert again.rates[-len(first.rates) :] == first.rates
    assert torch.equal(weights(again), weights(first))
    columns = ("epoch", "step", "learning_rate", "train/loss", "val/dice")
    assert [[row[name] for name in columns] for row in table(tmp_path / "again")] == [
        [row[name] for name in columns] for row in table(tmp_path / "run")
    ]
    assert (tmp_path / "again" / SCHEDULE).read_bytes() == (tmp_path / "run" / SCHEDULE).read_bytes()
    with pytest.raises(TrainingStopped):
        run(tmp_path / "third", Clock(), [At(20, stop)], schedule=str(tmp_path / "again"))
    third = run(tmp_path / "third", Clock(), resume=True, schedule=str(tmp_path / "again"))
    assert torch.equal(weights(third), weights(first))


def test_a_long_training_has_a_short_record(tmp_path: Path) -> None:
    run(tmp_path, Clock(0.1), max_time="60s", validations=1)
    pieces = json.loads((tmp_path / SCHEDULE).read_text())["pieces"]
    assert 250 < len(pieces) < 500
    assert all(later[0] > earlier[0] and later[1] > earlier[1] for earlier, later in pairwise(pieces))


@pytest.mark.parametrize(
    ("first", "longer", "steps"),
    [({"max_steps": 20}, {"max_steps": 40}, 40), ({"max_time": "20s"}, {"max_time": "40s"}, 40)],
)
@pytest.mark.parametrize("stopped_at", [None, 7])
def test_a_run_may_go_on_for_longer(tmp_path: Path, first, longer, steps: int, stopped_at) -> None:
    clock = Clock()
    if stopped_at is None:
        before = run(tmp_path, clock, validations=4, **first)
    else:
        with pytest.raises(TrainingStopped):
            run(tmp_path, clock, [At(stopped_at, stop)], validations=4, **first)
    module = run(tmp_path, clock, resume=True, validations=4, **longer)
    done = stopped_at or len(before.losses)
    assert done + len(module.losses) == steps
    assert ends(tmp_path)[-1] == steps
    spent = done / steps
    assert len(ends(tmp_path)) == (1 if stopped_at else 4) + round(4 * (1 - spent))
    assert max(module.rates) == module.rates[0]  # the rate of the share that is spent now
    assert module.rates[0] > 0.02 * 0.4
    assert json.loads((tmp_path / SCHEDULE).read_text())["finished"]


@pytest.mark.parametrize(
    ("first", "shorter", "words"),
    [
        ({"max_steps": 20}, {"max_steps": 10}, "trainer.max_steps: 10, and the run has made 20 already; give more"),
        ({"max_time": "20s"}, {"max_time": "8s"}, "trainer.max_time: 8 s, and the run has taken 20 s already"),
    ],
)
def test_less_than_what_is_spent_is_refused(tmp_path: Path, first, shorter, words: str) -> None:
    run(tmp_path, Clock(), **first)
    with pytest.raises(ConfigError, match=words):
        run(tmp_path, Clock(), resume=True, **shorter)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    run(tmp_path, Clock(), max_time="20s")
    assert run(tmp_path, Clock(), resume=True, max_time="20s").losses == []
    assert json.loads((tmp_path / SCHEDULE).read_text())["finished"]


def test_a_run_of_epochs_cannot_go_on_with_a_budget(line, tmp_path: Path) -> None:
    trainer, module, data = line(tmp_path)
    train(trainer, module, data, resume_from=None)
    with pytest.raises(ConfigError, match="began without a budget"):
        run(tmp_path, Clock(), resume=True, max_time="20s", ema_decay=None)


def test_batches_that_are_accumulated_make_one_step(tmp_path: Path) -> None:
    module = run(tmp_path, Clock(), max_steps=9, validations=3, accumulate_batches=2)
    assert len(module.losses) == 18
    assert ends(tmp_path) == [3, 6, 9]
    assert [int(row["step"]) for row in table(tmp_path)] == [3, 6, 9]
    clock = Clock()
    timed = run(tmp_path / "timed", clock, max_time="18s", validations=3, accumulate_batches=2)
    assert len(timed.losses) == 18
    assert ends(tmp_path / "timed") == [3, 6, 9]


def test_early_stopping_ends_it_before(tmp_path: Path) -> None:
    def spoil(trainer, module) -> None:
        module.network[2].bias.data.fill_(100.0)

    options: dict[str, Any] = {"max_steps": 100, "validations": 10, "early_stop_patience": 2, "ema_decay": None}
    run(tmp_path, Clock(), [At(15, spoil)], **options)
    assert 3 <= len(table(tmp_path)) == len(ends(tmp_path)) < 10
    again = run(tmp_path / "again", Clock(), [At(15, spoil)], schedule=str(tmp_path), ema_decay=None)
    assert len(again.losses) == int(table(tmp_path)[-1]["step"])


def test_progress_shows_what_is_left_of_the_time(tmp_path: Path, monkeypatch, capfd) -> None:
    run(tmp_path / "lines", Clock(), max_time="60s", validations=2)
    lines = [text for text in capfd.readouterr().out.splitlines() if text.startswith("epoch")]
    assert [text.split()[1] for text in lines] == ["1/2", "2/2"]
    assert [text.split()[-2] for text in lines] == ["0:00:30", "0:00:00"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    run(tmp_path / "bar", Clock(), max_steps=40, validations=2)
    out, err = capfd.readouterr()
    assert err == ""
    assert "100%" in out


def test_only_one_budget_belongs_to_a_trainer(tmp_path: Path, line) -> None:
    trainer, _, _ = line(tmp_path)
    assert budget_of(trainer) is None
