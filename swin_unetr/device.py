"""Devices of this machine: the precisions that they multiply in, and the memory of a GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.machine import Precision

#: Flags of processors (x86, ARM) that multiply bfloat16 matrices natively, as Linux names them.
_NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


#: First version of torch that computes every layer of the networks on Apple's GPUs, torch's device "mps".
TORCH_FROM = (2, 8)


def is_native(device: torch.device, precision: Precision) -> bool:
    """Whether a device multiplies in a precision natively, not through float32."""
    if precision == "float32":
        return True
    if device.type == "cuda":
        return precision == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and precision == "bfloat16" and bool(cpu_flags() & _NATIVE_BFLOAT16)


def native_precisions(device: torch.device | str) -> tuple[Precision, ...]:
    """The precisions that a device multiplies in natively, float32 first."""
    return tuple(each for each in get_args(Precision) if is_native(torch.device(device), each))


def cpu_flags() -> frozenset[str]:
    """Instruction sets of the processor as Linux names them; on other systems as torch does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # of torch 2.10 on
        return frozenset(name for name, has in known.items() if has is True)
    found = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(found, []))


@dataclass(frozen=True)
class GpuMemory:
    """Bytes of a GPU's memory."""

    #: What the driver can still give to any process.
    free: int
    #: What torch has taken from the driver, and what tensors take of that; the rest is torch's cache.
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
