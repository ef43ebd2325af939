"""Devices that a version of torch cannot use; the device is an argument, so that none is needed to test it."""

import pytest

from swin_unetr.config import TrainerConfig
from swin_unetr.device import check_mps
from swin_unetr.errors import ConfigError
from swin_unetr.training.speed import Hardware, trainer_for


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
