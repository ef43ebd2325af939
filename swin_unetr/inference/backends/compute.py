"""On which device, with which backend and in which precision a network computes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import get_args

import torch

from swin_unetr.device import Precision, check_mps, is_native
from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.installed import BackendName, check_installed, is_installed


@dataclass(frozen=True)
class Compute:
    """A device, the precision of the network's products on it, and what runs it; everything else is float32."""

    device: torch.device
    precision: Precision
    backend: BackendName = "torch"

    def autocast(self) -> torch.autocast:
        """The context to call a torch network in."""
        low = self.precision != "float32"
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision) if low else None, enabled=low)

    def describe(self) -> str:
        """One line for people, such as "openvino, bfloat16 on cpu (native here)"."""
        low = self.precision != "float32"
        native = "" if not low else " (native here)" if is_native(self.device, self.precision) else " (emulated here)"
        return f"{self.backend}, {self.precision} on {self.device}{native}"


def choose_compute(device: str = "auto", precision: str = "auto", backend: str = "auto") -> Compute:
    """Resolve "auto" and check that the machine has what is asked for.

    Args:
        device: "auto" (a CUDA GPU, under torchrun that of the process, else the CPU), "cpu", "cuda", "cuda:N" or
            "mps".
        precision: "float32", "bfloat16", "float16", or "auto": bfloat16 where the hardware multiplies in it, float16
            on other CUDA GPUs, else float32.
        backend: "torch", "compile", "openvino", "onnx", or "auto": OpenVINO on a CPU where it is installed, else torch.

    Raises:
        ConfigError: no such device here, an unknown name, a backend that is not installed or does not go with the
            device or the precision.
    """
    chosen = _device(device)
    name = _backend(backend, chosen)
    if precision not in ("auto", *get_args(Precision)):
        raise ConfigError(f"precision: {precision!r} is not one of auto, {', '.join(get_args(Precision))}")
    low: Precision = "float32"
    if precision == "auto":
        choices: tuple[Precision, ...] = ("float32",) if name == "onnx" else ("bfloat16", "float16", "float32")
        low = next(choice for choice in choices if is_native(chosen, choice))
    else:
        low = next(choice for choice in get_args(Precision) if choice == precision)
    _check_together(chosen, low, name)
    return Compute(chosen, low, name)


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


def _backend(name: str, device: torch.device) -> BackendName:
    if name not in ("auto", *get_args(BackendName)):
        raise ConfigError(f"backend: {name!r} is not one of auto, {', '.join(get_args(BackendName))}")
    if name == "auto":
        return "openvino" if device.type == "cpu" and is_installed("openvino") else "torch"
    chosen: BackendName = next(each for each in get_args(BackendName) if each == name)
    check_installed(chosen)
    return chosen


def _check_together(device: torch.device, precision: Precision, backend: BackendName) -> None:
    if backend == "openvino" and device.type != "cpu":
        raise ConfigError(f"backend: openvino computes on the CPU, not on {device}; add --device cpu, or leave it out")
    if backend == "onnx" and device.type not in ("cpu", "cuda"):
        raise ConfigError(f"backend: onnx computes on cpu or cuda, not on {device}; choose one of them")
    if backend == "onnx" and precision != "float32":
        raise ConfigError(f"precision: ONNX Runtime computes in float32 here, not in {precision}; leave it out")
    if device.type == "cpu" and precision == "float16":
        raise ConfigError("precision: float16 is for GPUs; on the CPU use bfloat16 or float32")
    check_mps(device.type, torch.__version__, option="device")
    if device.type == "mps" and precision != "float32":
        raise ConfigError(f"precision: Apple's GPU (mps) computes the network in float32 alone, not in {precision}")
