"""What Apple's GPUs, torch's device "mps", can compute of the networks. Knows no torch.

The decoder's `ConvTranspose3d` runs there from torch 2.8 on, and in float32 alone.
"""

from __future__ import annotations

import re

from swin_unetr.errors import ConfigError

#: First version of torch that computes every layer of the networks there.
TORCH_FROM = (2, 8)
#: Lightning's names of the precision that such a GPU trains in.
_FLOAT32 = ("32-true", "32")


def check_mps(device: str, torch_version: str, *, option: str) -> None:
    """Refuse an Apple GPU that this version of torch cannot use.

    Args:
        device: type of the device, such as "cpu", "cuda" or "mps".
        torch_version: of torch, such as "2.8.0".
        option: field or option that chooses the device, for the message.

    Raises:
        ConfigError: the device is "mps", and torch is too old.
    """
    release = tuple(int(part) for part in re.findall(r"\d+", torch_version)[:2])
    if device == "mps" and release < TORCH_FROM:
        first = ".".join(map(str, TORCH_FROM))
        raise ConfigError(
            f"{option}: torch {torch_version} cannot compute the network on Apple's GPU (mps); "
            f"install torch {first} or newer, or choose cpu"
        )


def training_precision(precision: str, device: str) -> tuple[str, str | None]:
    """The precision that a training runs in on a device, and a line that says so where it is not the one asked for.

    Args:
        precision: Lightning's, such as "bf16-mixed".
        device: type of the device, such as "cpu", "cuda" or "mps".
    """
    if device != "mps" or precision in _FLOAT32:
        return precision, None
    line = f"trainer.precision: Apple's GPU (mps) computes the network in float32 alone: 32-true instead of {precision}"
    return "32-true", line
