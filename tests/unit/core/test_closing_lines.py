"""The closing lines of the trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.run import FinetuneResult
from pretrain.run import PretrainResult


@pytest.mark.parametrize(("epochs", "words"), [(1, "1 epoch in 0:00:17"), (2, "2 epochs in 0:00:17")])
def test_epochs_are_counted_in_words(epochs: int, words: str) -> None:
    run = Path("run")
    tuned = FinetuneResult(
        run_folder=run, best_model=run / "best", last_model=run / "last", best_epoch=1, reason="end of training",
        dice=0.5, dice_per_target={"liver": 0.5}, pooled_dice=0.5, untrained=(), epochs=epochs, seconds=17.0,
        held_back=True,
    )  # fmt: skip
    trained = PretrainResult(
        run_folder=run, best_model=run / "best", last_model=run / "last", epochs=epochs, seconds=17.0, skipped="",
        transfer="",
    )  # fmt: skip
    for result in (tuned, trained):
        assert result.summary().startswith(words)
