"""The precision that a training computes in; the device is an argument, so that none is needed to test it."""

import pytest
import torch

from swin_unetr.config import TrainerConfig
from swin_unetr.training import precision
from swin_unetr.training.precision import bfloat16_share, training_precision
from swin_unetr.training.speed import Hardware, trainer_for

CPU_WITH, CPU_WITHOUT = frozenset({"avx512_bf16"}), frozenset({"avx2"})


@pytest.fixture
def on_cpu(monkeypatch):
    """A CPU with some flags on which bfloat16 takes a share of float32's time."""

    def make(flags: frozenset[str], share: float | None = None) -> None:
        monkeypatch.setattr("swin_unetr.device.cpu_flags", lambda: flags)
        monkeypatch.setattr(precision, "bfloat16_share", lambda: share)  # None: comparing it fails

    return make


@pytest.mark.parametrize("asked", ["bf16-mixed", "16-mixed", "bf16-true", "64-true"])
def test_a_training_on_mps_is_in_float32_and_says_so(asked: str) -> None:
    config, lines = trainer_for(TrainerConfig(precision=asked), Hardware(device="mps"), torch_version="2.8.0")
    assert config.precision == "32-true"
    (line,) = lines
    assert line.endswith(f"32-true instead of {asked}")
    for float32 in ("32-true", "auto"):
        assert training_precision(float32, "mps") == ("32-true", None)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_other_devices_train_as_asked_with_any_torch(device: str) -> None:
    config = TrainerConfig(precision="32-true")
    assert trainer_for(config, Hardware(device=device), torch_version="2.6.0") == (config, ())


@pytest.mark.parametrize(("share", "chosen"), [(0.6, "bf16-mixed"), (0.95, "32-true"), (1.46, "32-true")])
def test_auto_takes_bfloat16_on_a_cpu_only_if_it_is_faster_there(on_cpu, share: float, chosen: str) -> None:
    on_cpu(CPU_WITH, share)
    found, line = training_precision("auto", "cpu")
    assert found == chosen
    assert line == f"trainer.precision: {chosen}, since bfloat16 takes {share:.2f} times as long as float32 here"


def test_a_cpu_without_bfloat16_is_not_measured(on_cpu) -> None:
    on_cpu(CPU_WITHOUT)
    found, line = training_precision("auto", "cpu")
    assert found == "32-true"
    assert "does not multiply in bfloat16" in str(line)


def test_bfloat16_that_is_asked_for_is_kept_with_a_warning_where_it_is_emulated(on_cpu) -> None:
    on_cpu(CPU_WITHOUT)
    found, line = training_precision("bf16-mixed", "cpu")
    assert found == "bf16-mixed"
    assert str(line).startswith("warning: trainer.precision: this processor does not multiply in bfloat16")
    on_cpu(CPU_WITH)
    assert training_precision("bf16-mixed", "cpu") == ("bf16-mixed", None)


def test_auto_on_nvidia_gpus_follows_their_generation(monkeypatch) -> None:
    for native, expected in ((True, ("bf16-mixed", "bf16-mixed")), (False, ("16-mixed", "32-true"))):
        monkeypatch.setattr(precision, "is_native", lambda *_, native=native: native)
        assert tuple(training_precision("auto", "cuda", each)[0] for each in ("ddp", "fsdp")) == expected


@pytest.mark.slow
def test_the_measurement_is_a_ratio_and_leaves_random_numbers_alone(monkeypatch) -> None:
    monkeypatch.setattr(precision, "_SIZE", 12)  # where bfloat16 is emulated, the real size takes minutes
    bfloat16_share.cache_clear()
    before = torch.get_rng_state()
    try:
        assert 0 < bfloat16_share() < 10_000
    finally:
        bfloat16_share.cache_clear()
    assert torch.equal(before, torch.get_rng_state())
