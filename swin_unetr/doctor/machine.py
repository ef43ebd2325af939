"""What this machine has, and what the planned training asks of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Bytes and seconds; none where it could not be told.

    Attributes:
        cores: that this process may use.
        memory_free: of the machine or the container.
        gpu: its name; none without one.
        gpu_memory: of the GPU, free now.
        disk_free: where results would go.
        device: that trains.
        memory_needed: of RAM, by a training.
        gpu_memory_needed: peak of a step on the GPU, modelled.
        disk_needed: of the results and the store.
        step_seconds: of one training step, measured.
        step_memory: what the measured step took at its peak: on a GPU of the GPU, else of RAM.
        training_seconds: of the whole training, from the step.
        recipe: what would be trained, in words.
    """

    cores: int
    memory_free: int
    gpu: str | None
    gpu_memory: int | None
    disk_free: int
    device: str
    memory_needed: int | None = None
    gpu_memory_needed: int | None = None
    disk_needed: int | None = None
    step_seconds: float | None = None
    step_memory: int | None = None
    training_seconds: float | None = None
    recipe: str | None = None
