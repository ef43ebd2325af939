"""The precision that a training computes in on a machine."""

from __future__ import annotations

import time
from functools import lru_cache

import torch
from torch import nn

from swin_unetr.device import is_native

AUTO = "auto"
FULL = "32-true"
#: Lightning's names of float32.
_FLOAT32 = (FULL, "32")
_BFLOAT16 = "bf16-mixed"
#: Bfloat16 must take less than this share of float32's time, so that noise changes nothing.
_CLEARLY = 0.9
#: Channels and voxels of the layers that are timed: those of a decoder at half resolution.
_CHANNELS, _SIZE = 24, 48


def training_precision(precision: str, device: str, strategy: str = "auto") -> tuple[str, str | None]:
    """The precision that a training runs in on a device, and a line that says so where the user should know.

    Args:
        precision: Lightning's, such as "bf16-mixed"; or "auto": bfloat16 where the device multiplies in it, on a CPU
            only if it is measured to be faster, float16 on other NVIDIA GPUs, else float32.
        device: type of the device, such as "cpu", "cuda" or "mps".
        strategy: Lightning's; "fsdp" does not go with float16.
    """
    if device == "mps":
        if precision in (AUTO, *_FLOAT32):
            return FULL if precision == AUTO else precision, None
        said = f"Apple's GPU (mps) computes the network in float32 alone: {FULL} instead of {precision}"
        return FULL, f"trainer.precision: {said}"
    native = is_native(torch.device(device), "bfloat16")
    if precision == AUTO:
        if device == "cuda":
            low = FULL if strategy == "fsdp" else "16-mixed"
            return _BFLOAT16 if native else low, None
        if not native:
            return FULL, f"trainer.precision: {FULL}, since this processor does not multiply in bfloat16"
        share = bfloat16_share()
        chosen = _BFLOAT16 if share < _CLEARLY else FULL
        return chosen, f"trainer.precision: {chosen}, since bfloat16 takes {share:.2f} times as long as float32 here"
    if device == "cpu" and not native and precision.startswith("bf16"):
        said = f"this processor does not multiply in bfloat16, so that {precision} is much slower than {FULL}"
        return precision, f"warning: trainer.precision: {said}"
    return precision, None


@lru_cache
def bfloat16_share() -> float:
    """Seconds of typical layers in bfloat16 over those in float32 on this CPU, forward and backward."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv3d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False),
            nn.LeakyReLU(0.01),
            nn.Conv3d(_CHANNELS, _CHANNELS, 3, padding=1, bias=False),
        )
        image = torch.randn(1, _CHANNELS, _SIZE, _SIZE, _SIZE).contiguous(memory_format=torch.channels_last_3d)
        return min(_timed(layers, image, low=True)) / min(_timed(layers, image, low=False))


def _timed(layers: nn.Module, image: torch.Tensor, *, low: bool) -> list[float]:
    """Seconds of some passes; the first one, which prepares what later ones use, is left out."""
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            result = layers(image)
        result.float().sum().backward()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]
