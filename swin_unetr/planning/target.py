"""The machine that is planned for, and what a training takes of its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swin_unetr.planning.footprint import Footprint

Device = Literal["cpu", "cuda"]

#: For a GPU, estimated and not measured: the factor for what its allocator keeps beyond what is in use and for what
#: autocast keeps in float32 on a GPU alone; and the bytes that a process takes before its first tensor (context,
#: kernels, workspaces).
_GPU_SLACK, _GPU_BASE = 1.2, 800_000_000
#: Bytes that a process takes for each byte of blocks on the heap (with free gaps between them), and for each byte of
#: larger blocks, which go back to the system when they are freed; both with what oneDNN takes for a moment. Fitted to
#: the six configurations of scripts/bench/plans.py that are not held out there, with glibc.
_HEAP_SLACK, _LARGE_SLACK = 1.7, 1.25


@dataclass(frozen=True, kw_only=True)
class PlanTarget:
    """The machine to train on."""

    device: Device
    #: Bytes that the training may take: of the process on a CPU, of the GPU's memory there.
    memory: int
    #: Whether it trains faster in bfloat16 than in float32.
    bfloat16: bool
    #: Processor cores for reading and augmenting.
    cores: int
    #: Bytes that a training process takes on a CPU before its first step; measured in this one.
    base: int = 0

    def needs(self, footprint: Footprint) -> int:
        """Bytes that a training of this footprint takes here, at its peak."""
        if self.device == "cuda":
            return _GPU_BASE + int(_GPU_SLACK * footprint.peak)
        return self.base + int(_HEAP_SLACK * (footprint.peak - footprint.large) + _LARGE_SLACK * footprint.large)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much computing a plan asks for: a processor is slow long before its memory is full."""

    #: Feature sizes to choose from, the best first.
    features: tuple[int, ...]
    #: Voxels of a crop, at most.
    most_voxels: int
    #: Crops of a batch: the number aimed at, and the most if crops are small.
    batch: int
    most_batch: int
    #: Optimiser steps of a training; with little time, those that are enough before a smaller one is chosen.
    steps: int
    least_steps: int
    #: Validations of a training.
    validations: int
    words: str


EFFORTS: dict[Device, Effort] = {
    "cuda": Effort(
        features=(48, 24, 12),
        most_voxels=128**3,
        batch=2,
        most_batch=8,
        steps=25_000,
        least_steps=2_500,
        validations=25,
        words="about a day on a GPU, by estimate",
    ),
    "cpu": Effort(
        features=(16, 8),
        most_voxels=64**3,
        batch=2,
        most_batch=2,
        steps=2_000,
        least_steps=1_500,
        validations=3,
        words="a quarter of an hour to an hour or two on a processor",
    ),
}
