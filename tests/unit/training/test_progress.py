"""What a person sees on a terminal. What goes into a file instead is tested with the trainer."""

import os
import re
import sys
import threading
from pathlib import Path

import psutil
import pytest
import torch
from lightning.pytorch import Callback

from swin_unetr.training import TrainingStopped, progress, train
from swin_unetr.training.run_folder import CHECKPOINT
from swin_unetr.training.stop_signals import Stop


class StopInTheSecondEpoch(Callback):
    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch == 1:
            raise TrainingStopped(Stop.INTERRUPT)


def test_a_bar_with_loss_dice_and_time_left_and_a_line_for_each_validation(
    line, tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # how rich is told that this is a terminal
    monkeypatch.setenv("COLUMNS", "120")
    trainer, module, data = line(tmp_path)
    train(trainer, module, data, resume_from=None)
    out, err = capfd.readouterr()
    assert err == ""
    assert "epoch 4/4" in out
    assert "4/4" in out
    lines = [text for text in out.replace("\r", "\n").splitlines() if "(liver" in text]
    assert [text.split("  ")[0].split()[-1] for text in lines] == ["2/4", "4/4"]
    assert all("Dice" in text and text.rstrip().endswith("left") for text in lines)


def test_a_stop_takes_the_bar_away(line, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    trainer, module, data = line(tmp_path, callbacks=[StopInTheSecondEpoch()])
    with pytest.raises(TrainingStopped):
        train(trainer, module, data, resume_from=None)
    command = "to go on: " + "a " * 100  # a person copies it
    print(command)
    print(command, file=sys.stderr)
    out, err = capfd.readouterr()
    assert out.splitlines()[-1].endswith(command)  # what shows the cursor again stands before it
    assert err.splitlines() == [command]


def test_the_best_score_outlives_a_resume(line, tmp_path: Path, capfd) -> None:
    trainer, module, data = line(tmp_path, epochs=2)
    train(trainer, module, data, resume_from=None)
    best = trainer.callback_metrics["val/dice"]
    capfd.readouterr()
    trainer, module, data = line(tmp_path, epochs=4)
    train(trainer, module, data, resume_from=tmp_path / CHECKPOINT)
    last = capfd.readouterr().out.splitlines()[-1]
    assert ("best" in last) == bool(trainer.callback_metrics["val/dice"] > best)


def test_a_long_epoch_and_a_long_validation_say_how_far_they_are(line, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    trainer, module, data = line(tmp_path)
    train(trainer, module, data, resume_from=None)
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("training on ")
    assert lines[0].endswith("the first step takes longer than the others")
    assert any(re.fullmatch(r"epoch 1/4: step 2/\d+, \d:\d\d:\d\d left", text) for text in lines)
    assert any(re.fullmatch(r"epoch 2/4: validation 1/\d+, \d:\d\d:\d\d left", text) for text in lines)


def test_busy_cores_are_those_of_others() -> None:
    end = threading.Event()
    own = threading.Thread(target=lambda: [None for _ in iter(end.is_set, True)])
    own.start()  # keeps a core busy, but is this process
    try:
        alone = progress.busy_cores_of_others()
    finally:
        end.set()
        own.join()
    assert 0 <= alone <= (os.cpu_count() or 1)


def test_no_more_cores_are_busy_than_there_are(monkeypatch) -> None:
    readings = iter([(0.0, 0.0), (1e6, 0.0)])  # the system counts in steps of its own
    monkeypatch.setattr(progress, "_cpu_seconds", lambda: next(readings))
    assert progress.busy_cores_of_others() == psutil.cpu_count()


def test_a_training_beside_busy_programs_says_so(monkeypatch) -> None:
    there = psutil.cpu_count()
    monkeypatch.setattr(progress, "busy_cores_of_others", lambda: there + 0.3)  # it is measured, with some error
    words = progress.words_on_device(torch.device("cpu"))
    assert f"while other programs keep {there:.1f} of {there} busy" in words
    monkeypatch.setattr(progress, "busy_cores_of_others", lambda: 0.0)
    assert "other programs" not in progress.words_on_device(torch.device("cpu"))
    assert progress.words_on_device(torch.device("cuda")) == "training on cuda"
