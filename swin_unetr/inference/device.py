"""Where, with what and how precisely a network computes, and what to say when it has not enough memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.backends.installed import BackendName, check_installed, is_installed
from swin_unetr.mps import check_mps

Precision = Literal["float32", "bfloat16", "float16"]

#: Flags of processors (x86, ARM) that multiply bfloat16 matrices natively, as Linux names them.
_NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


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


def is_native(device: torch.device, precision: Precision) -> bool:
    """Whether a device multiplies in a precision itself, not by way of float32."""
    if precision == "float32":
        return True
    if device.type == "cuda":
        return precision == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and precision == "bfloat16" and bool(cpu_flags() & _NATIVE_BFLOAT16)


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor as Linux names them; elsewhere what torch tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # of torch 2.10 on
        return frozenset(name for name, has in known.items() if has is True)
    found = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, []))


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


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of a GPU's memory."""

    #: What the driver could give to anyone.
    free: int
    #: What torch has of the driver, and what tensors take of that; the rest is torch's cache.
    reserved: int
    allocated: int

    @classmethod
    def of(cls, device: torch.device) -> GpuMemory:
        """The memory of a GPU now."""
        free, _ = torch.cuda.mem_get_info(device)
        return cls(free, torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device))

    @property
    def left(self) -> int:
        """What tensors can still take: torch's cache is theirs too, or goes back to the driver for them."""
        return self.free + self.reserved - self.allocated


def gpu_peak_during(call: Callable[[], object], device: torch.device) -> int:
    """The most bytes that tensors took on a GPU while something was computed, beyond what they took before."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return int(torch.cuda.max_memory_allocated(device)) - before


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a GPU or of the machine was too little."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = ("not enough memory", "can't allocate memory", "backend out of memory")  # CPU, CPU, MPS
    return isinstance(error, RuntimeError) and any(each in str(error) for each in words)


def too_little_memory(device: torch.device) -> DataError:
    """What to say of a scan that does not fit."""
    gpu = "use --batch-size 1, fewer models, or --device cpu, or free the GPU of other programs"
    cpu = "crop the scan, or use a machine with more memory"
    return DataError(f"not enough memory on {device} for this scan; {cpu if device.type == 'cpu' else gpu}")


@contextmanager
def memory_errors_in_words(device: torch.device) -> Iterator[None]:
    """Turn running out of memory into one line with its remedy, and give the device's memory back.

    Args:
        device: whose memory may be too little, the CPU for the machine's.

    Raises:
        DataError: in place of the error.
    """
    try:
        yield
        return
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        on_gpu = isinstance(error, torch.OutOfMemoryError)
    give_back(device)
    raise too_little_memory(device if on_gpu else torch.device("cpu"))


def give_back(device: torch.device) -> None:
    """Give what torch has cached of a GPU back to the driver."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
