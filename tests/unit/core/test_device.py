"""What a training and a prediction do on Apple's GPUs; the device is an argument, for none is needed to test it."""

import pytest

from swin_unetr.config import TrainerConfig
from swin_unetr.device import check_mps, training_precision
from swin_unetr.errors import ConfigError
from swin_unetr.training.speed import Hardware, trainer_for


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "bf16-true", "64-true"])
def test_a_training_on_mps_is_in_float32_and_says_so(precision: str) -> None:
    config, lines = trainer_for(TrainerConfig(precision=precision), Hardware(device="mps"), torch_version="2.8.0")
    assert config.precision == "32-true"
    (line,) = lines
    assert line.endswith(f"32-true instead of {precision}")
    assert training_precision("32-true", "mps") == ("32-true", None)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_other_devices_train_as_asked_with_any_torch(device: str) -> None:
    config = TrainerConfig(precision="bf16-mixed")
    assert trainer_for(config, Hardware(device=device), torch_version="2.6.0") == (config, ())


@pytest.mark.parametrize(
    ("version", "refused"),
    [("2.6.0", True), ("2.7.1+cpu", True), ("2.8.0", False), ("2.10.0a0+git1", False), ("3.0", False)],
)
def test_mps_needs_torch_2_8(version: str, refused: bool) -> None:
    if not refused:
        check_mps("mps", version, option="device")
        return
    with pytest.raises(ConfigError, match=r"^device: torch .* install torch 2\.8 or newer, or choose cpu$"):
        check_mps("mps", version, option="device")
    with pytest.raises(ConfigError, match=r"^trainer\.accelerator: torch"):
        trainer_for(TrainerConfig(), Hardware(device="mps"), torch_version=version)
