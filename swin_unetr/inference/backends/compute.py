"""On which device, with which backend and in which precision a network computes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import get_args

import torch

from swin_unetr.device import check_mps, is_native
from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.installed import check_installed, is_installed
from swin_unetr.inference.backends.registry import BACKENDS, DEFAULT, find_backend
from swin_unetr.machine import Precision


@dataclass(frozen=True)
class Compute:
    """A device, the precision of the network's products on it, and what runs it; everything else is float32."""

    device: torch.device
    precision: Precision
    backend: str = DEFAULT
    #: Other precisions that may be faster here; the first model that is opened decides (`fastest.settle`).
    or_else: tuple[Precision, ...] = ()
    #: Seconds for a window in each precision, if they were compared; that of `precision` comes first.
    window_seconds: tuple[tuple[Precision, float], ...] = ()

    def autocast(self) -> torch.autocast:
        """The context to call a torch network in."""
        low = self.precision != "float32"
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision) if low else None, enabled=low)

    def describe(self) -> str:
        """One line for people, such as "openvino, float32 on cpu (4.2 s for a window; bfloat16 6.2 s)"."""
        said = f"{self.backend}, {self.precision} on {self.device}"
        if self.window_seconds:
            (_, seconds), *others = self.window_seconds
            return (
                f"{said} ({seconds:.2g} s for a window; {', '.join(f'{name} {each:.2g} s' for name, each in others)})"
            )
        if self.precision == "float32":
            return said
        return f"{said} ({'native' if is_native(self.device, self.precision) else 'emulated'} here)"


def choose_compute(device: str = "auto", precision: str = "auto", backend: str = "auto") -> Compute:
    """Resolve "auto" and check that the machine has what is asked for.

    Args:
        device: "auto" (a CUDA GPU, under torchrun that of the process, else the CPU), "cpu", "cuda", "cuda:N" or
            "mps".
        precision: "float32", "bfloat16", "float16", or "auto": the fastest here. Bfloat16 is expected to be it where
            the hardware multiplies in it, float16 on other CUDA GPUs, else float32; the others are in `or_else`.
        backend: a name in `registry.BACKENDS`, or "auto": the one that is preferred on the device where it is
            installed, else torch.

    Raises:
        ConfigError: no such device here, an unknown name, a backend that is not installed or does not go with the
            device or the precision.
    """
    chosen = _device(device)
    name = _backend(backend, chosen)
    if precision not in ("auto", *get_args(Precision)):
        raise ConfigError(f"precision: {precision!r} is not one of auto, {', '.join(get_args(Precision))}")
    low, others = _precisions(precision, chosen, name)
    _check_together(chosen, low, name)
    return Compute(chosen, low, name, others)


def _precisions(precision: str, device: torch.device, backend: str) -> tuple[Precision, tuple[Precision, ...]]:
    """The precision, and those that "auto" may also mean; what the hardware emulates is never faster."""
    if precision != "auto":
        return next(choice for choice in get_args(Precision) if choice == precision), ()
    fastest: tuple[Precision, ...] = ("bfloat16", "float16", "float32")
    first, *others = (each for each in fastest if each in BACKENDS[backend].precisions and is_native(device, each))
    return first, tuple(others)


def _device(name: str) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        if not gpus:
            return torch.device("cpu")
        rank = os.environ.get("LOCAL_RANK", "")  # set by torchrun, one process for each GPU
        return torch.device(f"cuda:{int(rank) % gpus}" if rank.isdecimal() else "cuda")
    here = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus)), *(["mps"] if mps else [])]
    if name not in here:
        raise ConfigError(f"device: {name!r} is not available on this machine; choose one of: auto, {', '.join(here)}")
    return torch.device(name)


def _backend(name: str, device: torch.device) -> str:
    if name == "auto":
        preferred = (each for each, spec in BACKENDS.items() if device.type in spec.preferred_on)
        return next(filter(is_installed, preferred), DEFAULT)
    find_backend(name)
    check_installed(name)
    return name


def _check_together(device: torch.device, precision: Precision, backend: str) -> None:
    spec = BACKENDS[backend]
    if device.type not in spec.devices:
        raise ConfigError(f"backend: {_other_devices(backend, device)}")
    if precision not in spec.precisions:
        known = " or ".join(spec.precisions)
        raise ConfigError(f"precision: {spec.title} computes in {known} here, not in {precision}; leave it out")
    if device.type == "cpu" and precision == "float16":
        raise ConfigError("precision: float16 is for GPUs; on the CPU use bfloat16 or float32")
    check_mps(device.type, torch.__version__, option="device")
    if device.type == "mps" and precision != "float32":
        raise ConfigError(f"precision: Apple's GPU (mps) computes the network in float32 alone, not in {precision}")


def _other_devices(backend: str, device: torch.device) -> str:
    """What to say of a device that a backend does not compute on."""
    devices = BACKENDS[backend].devices
    if len(devices) > 1:
        return f"{backend} computes on {' or '.join(devices)}, not on {device}; choose one of them"
    only = "the CPU" if devices == ("cpu",) else devices[0]
    return f"{backend} computes on {only}, not on {device}; add --device {devices[0]}, or leave it out"
