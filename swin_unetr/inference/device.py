"""Where and how precisely a network computes, and what to say when it has not enough memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from swin_unetr.errors import ConfigError, DataError

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Compute:
    """A device, and the precision of the network's products on it; everything else is float32."""

    device: torch.device
    precision: Precision

    def autocast(self) -> torch.autocast:
        """The context to call the network in."""
        low = self.precision == "bfloat16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low)


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Resolve "auto" and check that the machine has what is asked for.

    Args:
        device: "auto" (the first CUDA GPU, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        precision: "float32", "bfloat16", or "auto": bfloat16 on a GPU that computes in it, else float32.

    Raises:
        ConfigError: no such device here, or an unknown name.
    """
    chosen = _device(device)
    if precision not in ("auto", *get_args(Precision)):
        raise ConfigError(f"precision: {precision!r} is not one of auto, {', '.join(get_args(Precision))}")
    native = chosen.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    low = precision == "bfloat16" or (precision == "auto" and native)
    return Compute(chosen, "bfloat16" if low else "float32")


def _device(name: str) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    here = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus)), *(["mps"] if mps else [])]
    if name not in here:
        raise ConfigError(f"device: {name!r} is not to be had here; choose one of: auto, {', '.join(here)}")
    return torch.device(name)


@contextmanager
def memory_errors_in_words(device: torch.device) -> Iterator[None]:
    """Turn running out of memory into one line with its remedy, and give the device's memory back.

    Raises:
        DataError: in place of the error.
    """
    try:
        yield
        return
    except torch.OutOfMemoryError:
        remedy = "use --batch-size 1, fewer models, or --device cpu, or free the GPU of other programs"
    except MemoryError:
        remedy = "crop the scan, or use a machine with more memory"
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        remedy = "crop the scan, or use a machine with more memory"
    if device.type == "cuda":
        torch.cuda.empty_cache()
    raise DataError(f"not enough memory on {device} for this scan; {remedy}")
