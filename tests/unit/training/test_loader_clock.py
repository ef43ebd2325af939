"""The time that steps wait for their batches."""

import time

import pytest

from swin_unetr.training.loader_clock import LoaderClock

READ, SEND = "[_TrainingEpochLoop].train_dataloader_next", "[Strategy]SingleDeviceStrategy.batch_to_device"


def test_reading_and_sending_for_training_count_and_nothing_else() -> None:
    clock = LoaderClock()
    for action in ("[_EvaluationLoop].val_next", SEND, "run_training_batch"):
        with clock.profile(action):
            time.sleep(0.02)
    assert clock.seconds == 0
    for action in (READ, SEND, "run_training_batch", "[_EvaluationLoop].val_next", SEND):
        with clock.profile(action):
            time.sleep(0.05)
    assert clock.seconds == pytest.approx(0.1, rel=0.5)
