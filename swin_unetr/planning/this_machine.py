"""What of this machine a training may take."""

from __future__ import annotations

import torch

from swin_unetr.machine import available, cores, resident
from swin_unetr.planning.target import Device, PlanTarget
from swin_unetr.training.precision import AUTO, training_precision

#: Share of the free memory that a training may take if no size is given.
_SHARE = 0.8


def this_machine(*, memory: int | None = None, gpu_memory: int | None = None) -> PlanTarget:
    """This machine, or one with a GPU of the given memory.

    Args:
        memory: bytes that the process may take on the processor. If None, most of what is free.
        gpu_memory: bytes of the GPU, which this machine need not have. If None, most of what is free on its GPU.
    """
    gpu = memory is None and (gpu_memory is not None or torch.cuda.is_available())
    device: Device = "cuda" if gpu else "cpu"
    base = resident()
    if gpu:
        taken = gpu_memory if gpu_memory is not None else int(_SHARE * torch.cuda.mem_get_info()[0])
    else:
        taken = memory if memory is not None else base + int(_SHARE * available())
    here = torch.cuda.is_available() if gpu else True
    low = training_precision(AUTO, device)[0] == "bf16-mixed" if here else True
    return PlanTarget(device=device, memory=taken, bfloat16=low, cores=cores(), base=base)
