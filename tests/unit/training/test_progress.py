"""What a person sees on a terminal. What goes into a file instead is tested with the trainer."""

from pathlib import Path

from swin_unetr.training import fit
from swin_unetr.training.run_folder import CHECKPOINT


def test_a_bar_with_loss_dice_and_time_left_and_a_line_for_each_validation(
    line, tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # how rich is told that this is a terminal
    monkeypatch.setenv("COLUMNS", "120")
    trainer, module, data = line(tmp_path)
    fit(trainer, module, data, resume_from=None)
    out, err = capfd.readouterr()
    assert err == ""
    assert "epoch 4/4" in out
    assert "4/4" in out
    lines = [text for text in out.replace("\r", "\n").splitlines() if "(liver" in text]
    assert [text.split("  ")[0].split()[-1] for text in lines] == ["2/4", "4/4"]
    assert all("Dice" in text and text.rstrip().endswith("left") for text in lines)


def test_the_best_score_outlives_a_resume(line, tmp_path: Path, capfd) -> None:
    trainer, module, data = line(tmp_path, epochs=2)
    fit(trainer, module, data, resume_from=None)
    best = trainer.callback_metrics["val/dice"]
    capfd.readouterr()
    trainer, module, data = line(tmp_path, epochs=4)
    fit(trainer, module, data, resume_from=tmp_path / CHECKPOINT)
    last = capfd.readouterr().out.splitlines()[-1]
    assert ("best" in last) == bool(trainer.callback_metrics["val/dice"] > best)
