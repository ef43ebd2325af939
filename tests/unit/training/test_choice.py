"""Which model is kept: over any sequence of scores, through a real Trainer, and across a resume."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_parts import At

from swin_unetr.training import train
from swin_unetr.training.choice import COLLAPSE, END, HIGHEST, NEWEST, NO_SCORE, SmoothedScore, reason_to_keep
from swin_unetr.training.run_folder import CHECKPOINT

SCORES = st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), min_size=1, max_size=30)
NAN = math.nan


def kept_over(scores: list[float], stop_at: int | None = None) -> tuple[int, float, str]:
    """Index, smoothed score and reason of the model that is kept at the end; state is written and read at `stop_at`."""
    smoothed, best, index, why = SmoothedScore(), NAN, -1, ""
    for at, score in enumerate(scores):
        if at == stop_at:
            smoothed = SmoothedScore(smoothed.value)
        now = smoothed.add(score)
        if (reason := reason_to_keep(now, best, ends=at + 1 == len(scores))) is not None:
            best, index, why = now, at, reason
    return index, best, why


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SCORES)
def test_a_model_is_always_kept_and_it_is_the_last_unless_that_is_clearly_worse(scores: list[float]) -> None:
    smoothed = SmoothedScore()
    averages = [smoothed.add(score) for score in scores]
    numbers = [value for value in averages if not math.isnan(value)]
    index, best, why = kept_over(scores)
    assert index >= 0
    if not numbers:
        assert (index, why) == (len(scores) - 1, NO_SCORE)  # no signal: the last
        return
    assert not math.isnan(best)  # NaN never wins over a number
    if averages[-1] >= max(numbers) - COLLAPSE:
        assert (index, why) == (len(scores) - 1, END)
    else:
        assert (index, why) == (averages.index(max(numbers)), HIGHEST)  # the first of equal ones


@settings(max_examples=100, deadline=None, derandomize=True)
@given(SCORES, st.data())
def test_a_resume_anywhere_makes_the_same_choice(scores: list[float], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(scores)))
    assert kept_over(scores, stop_at=at) == pytest.approx(kept_over(scores), nan_ok=True)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(SCORES)
def test_the_average_stays_within_the_scores_and_forgets_what_is_no_number(scores: list[float]) -> None:
    smoothed, without = SmoothedScore(), SmoothedScore()
    for score in scores:
        value = smoothed.add(score)
        assert math.isnan(value) == math.isnan(score)
        if not math.isnan(score):
            assert value == without.add(score)
    numbers = [score for score in scores if not math.isnan(score)]
    if numbers:
        assert min(numbers) - 1e-12 <= smoothed.value <= max(numbers) + 1e-12


def test_the_average_by_hand() -> None:
    smoothed = SmoothedScore()
    assert [smoothed.add(score) for score in (0.4, 0.8)] == [0.4, pytest.approx(NEWEST * 0.8 + (1 - NEWEST) * 0.4)]


def folders(run: Path) -> tuple[dict, dict]:
    return torch.load(run / "best" / "line.pt"), torch.load(run / "last" / "line.pt")


@pytest.mark.parametrize(
    ("scores", "epoch", "reason"),
    [
        ([0.2, 0.8, 0.79], 3, END),
        ([0.2, 0.8, 0.1], 2, "highest score, 0.8000: the training ended with 0.1000"),
        ([0.2, 0.8, NAN], 2, "highest score, 0.8000: the training ended with no number"),
        ([NAN, 0.0, 0.3, 0.2], 3, "highest score, 0.3000: the training ended with 0.2000"),
        ([0.0, NAN, NAN, 0.0], 4, END),
        ([NAN, NAN, NAN], 3, NO_SCORE),
    ],
)
def test_best_has_the_last_model_unless_training_collapsed(
    line, tmp_path: Path, scores: list[float], epoch: int, reason: str
) -> None:
    trainer, module, data = line(tmp_path, epochs=len(scores), validate_every=1)
    module.scores = scores
    train(trainer, module, data, resume_from=None)
    best, last = folders(tmp_path)
    assert (best["epoch"], last["epoch"]) == (epoch, len(scores))
    (kept,) = (callback.best for callback in trainer.callbacks if hasattr(callback, "best"))
    assert (kept["epoch"], kept["reason"]) == (epoch, reason)


def test_a_run_that_is_stopped_leaves_the_best_so_far(line, tmp_path: Path) -> None:
    def fail(*_) -> None:
        raise RuntimeError("power cut")

    scores = [0.5, 0.9, 0.85, 0.87]
    trainer, module, data = line(tmp_path, epochs=4, validate_every=1, callbacks=[At(13, fail)])
    module.scores = scores
    with pytest.raises(RuntimeError, match="power cut"):
        train(trainer, module, data, resume_from=None)
    assert [folder["epoch"] for folder in folders(tmp_path)] == [2, 3]
    trainer, module, data = line(tmp_path, epochs=4, validate_every=1)
    module.scores = scores
    train(trainer, module, data, resume_from=tmp_path / CHECKPOINT)
    assert [folder["epoch"] for folder in folders(tmp_path)] == [4, 4]


def test_a_reason_to_take_every_model_overrules_the_score(line, tmp_path: Path) -> None:
    trainer, module, data = line(tmp_path, epochs=3, validate_every=1)
    (chooser,) = (callback for callback in trainer.callbacks if hasattr(callback, "always_last"))
    chooser.always_last = "all cases are trained on"
    module.scores = [0.9, 0.5, 0.1]
    train(trainer, module, data, resume_from=None)
    assert folders(tmp_path)[0]["epoch"] == 3
    assert chooser.best["reason"] == "all cases are trained on"


def test_a_validation_without_a_score_does_not_stop_early(line, tmp_path: Path) -> None:
    trainer, module, data = line(tmp_path, epochs=8, validate_every=1, early_stop_patience=2)
    module.scores = [NAN] * 8
    train(trainer, module, data, resume_from=None)
    assert folders(tmp_path)[1]["epoch"] == 8
    folder = tmp_path / "falls"
    trainer, module, data = line(folder, epochs=8, validate_every=1, early_stop_patience=2)
    module.scores = [0.5, NAN, 0.48, NAN, 0.47, 0.9, 0.9, 0.9]
    train(trainer, module, data, resume_from=None)
    best, last = folders(folder)
    assert (best["epoch"], last["epoch"], best["reason"]) == (5, 5, END)  # stopped early is ended, too
