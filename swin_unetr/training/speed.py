"""Resolves "auto" in `SpeedConfig`: the one place where a machine decides how a training computes."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch

from swin_unetr.config import SpeedConfig, TrainerConfig
from swin_unetr.device import check_mps
from swin_unetr.errors import ConfigError
from swin_unetr.machine import size_in_words
from swin_unetr.training.precision import training_precision

#: Names of the accelerators that Lightning takes, which mean a CUDA GPU if there is one.
_CUDA = ("auto", "gpu", "cuda")
#: The first generation of GPUs that multiplies in TF32 (Ampere).
_TF32_FROM = (8, 0)

#: Fine-tuning has more speed-ups than pre-training.
_Speed = TypeVar("_Speed", bound=SpeedConfig)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What the choice depends on."""

    #: "cpu", "cuda", or another of torch's.
    device: str
    #: CUDA's compute capability, such as (9, 0).
    capability: tuple[int, int] | None = None
    #: Whether there is what `torch.compile` needs: Triton on a GPU, a C++ compiler on the CPU.
    compiler: bool = False


def hardware(accelerator: str) -> Hardware:
    """This machine, as a training with this Lightning accelerator uses it."""
    if accelerator in _CUDA and torch.cuda.is_available():
        triton = importlib.util.find_spec("triton") is not None
        return Hardware(device="cuda", capability=torch.cuda.get_device_capability(), compiler=triton)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return Hardware(device="mps")
    found = any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "cl"))
    return Hardware(device="cpu", compiler=found)


def trainer_for(
    config: TrainerConfig, machine: Hardware, *, torch_version: str = torch.__version__
) -> tuple[TrainerConfig, tuple[str, ...]]:
    """The configuration of the Trainer on a machine, and lines that say what differs from what was asked for.

    Args:
        config: what the user wants.
        machine: where the training runs.
        torch_version: of torch.

    Raises:
        ConfigError: the device needs a newer torch.
    """
    check_mps(machine.device, torch_version, option="trainer.accelerator")
    precision, line = training_precision(config.precision, machine.device, config.strategy)
    return replace(config, precision=precision), () if line is None else (line,)


def settle(config: _Speed, machine: Hardware, *, precision: str) -> _Speed:
    """The configuration with every "auto" resolved that the machine decides, and everything off by its one switch.

    Attention and memory layout stay "auto" on the CPU, where each call decides by its size and type; what to recompute
    depends on the memory, see `least_recomputation`.

    Args:
        config: what the user wants.
        machine: where the training runs.
        precision: Lightning's, such as "bf16-mixed".

    Raises:
        ConfigError: something is asked for that this machine or this precision cannot do.
    """
    if not config.fast:
        off = replace(config, attention="explicit", memory_layout="unchanged", compile=False)
        return replace(off, fused_optimizer=False, tf32=False)
    gpu = machine.device == "cuda"
    if config.attention == "auto" and gpu:
        config = replace(config, attention="fused")
    if config.memory_layout == "auto" and gpu:
        config = replace(config, memory_layout="contiguous")
    config = replace(config, compile=_compile_mode(config, machine), tf32=_tf32(config, machine))
    # Under a gradient scaler the fused kernel unscales by itself, and Lightning cannot clip before it.
    scaled = precision.startswith("16")
    if config.fused_optimizer is True and scaled:
        raise ConfigError(f"speed.fused_optimizer: cannot be used with precision {precision!r}; leave it out")
    return replace(config, fused_optimizer=not scaled if config.fused_optimizer == "auto" else config.fused_optimizer)


def least_recomputation(memory: int, parts: Sequence[str], needs: Callable[[tuple[str, ...]], int]) -> tuple[str, ...]:
    """The fewest parts to compute a second time so that a training fits.

    Args:
        memory: bytes that it may take.
        parts: from the one that gives back most memory for its time to the one that gives least.
        needs: bytes that a training takes in which these parts are recomputed.

    Raises:
        ConfigError: even all of them are not enough; the message says what would be.
    """
    low, high = 0, len(parts)
    least = needs(tuple(parts))
    if least > memory:
        raise ConfigError(
            f"speed.memory: {size_in_words(memory)} is too little even if everything is recomputed, which takes "
            f"{size_in_words(least)}; give more, or make crop, batch or network smaller"
        )
    while low < high:  # each further part takes no more than the ones before it
        middle = (low + high) // 2
        low, high = (low, middle) if needs(tuple(parts[:middle])) <= memory else (middle + 1, high)
    return tuple(parts[:low])


@contextmanager
def float32_products(config: SpeedConfig) -> Iterator[None]:
    """Multiply float32 on GPUs as a settled configuration has it, and afterwards as before."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32, convolutions.allow_tf32 = config.tf32 is True, config.tf32 is not False
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def _compile_mode(config: SpeedConfig, machine: Hardware) -> Literal["default", "reduce-overhead", False]:
    if config.compile in (False, "auto"):
        return False  # no gain on the CPU; not measured on a GPU
    if not machine.compiler:
        what = "Triton" if machine.device == "cuda" else "a C++ compiler"
        raise ConfigError(f"speed.compile: needs {what}, which is missing here; install it, or leave this out")
    if config.compile != "reduce-overhead":
        return "default"
    if machine.device != "cuda":
        raise ConfigError(f"speed.compile: 'reduce-overhead' is for CUDA GPUs, not for {machine.device}; use true")
    return "reduce-overhead"


def _tf32(config: SpeedConfig, machine: Hardware) -> bool | Literal["convolutions"]:
    able = machine.capability is not None and machine.capability >= _TF32_FROM
    if config.tf32 == "auto":
        return "convolutions" if able else False
    if config.tf32 and not able:
        raise ConfigError("speed.tf32: needs a CUDA GPU of compute capability 8.0 or more; leave it out")
    return config.tf32
