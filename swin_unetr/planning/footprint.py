"""What a training step takes in memory, by going through it with tensors that have shapes but no values.

Forward and backward run on torch's fake tensors, which take the same path through the network as the CPU's real ones,
and every storage is counted from its creation to its end: what autograd keeps, what checkpointing recomputes, what
lives for a moment. Nothing is fitted, and a step of any size takes seconds. Not counted: what kernels take inside, and
freed memory that an allocator keeps.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

#: From here on glibc takes blocks from the system, and gives them back at once; smaller ones come from its heap.
LARGE = 32 << 20

Module = TypeVar("Module", bound=nn.Module)
#: Names of a batch's tensors: shape and type.
BatchShapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of a training step."""

    #: Parameters and buffers.
    weights: int
    #: Gradients, AdamW's two moments, and the averaged copy of the weights where there is one.
    training_state: int
    #: Most bytes that live at a time, the two above included.
    peak: int
    #: How much of it is in blocks of `LARGE` bytes or more.
    large: int

    @property
    def activations(self) -> int:
        """What the batch adds: this part grows with crop and batch."""
        return self.peak - self.weights - self.training_state


def step_footprint(
    build: Callable[[], Module],
    loss: Callable[[Module, dict[str, Tensor]], Tensor],
    batch: BatchShapes,
    *,
    bfloat16: bool,
    averaged: bool,
) -> Footprint:
    """Trace the second of two training steps, in which the optimiser has all of its state.

    Args:
        build: makes the network with what belongs to it; called where every tensor is made without memory.
        loss: of a batch; a scalar.
        batch: shapes and types of the batch's tensors.
        bfloat16: whether products are computed in it (autocast).
        averaged: whether an average of the weights is kept.

    Returns:
        What it takes. The gradients of the step before live until the backward pass, as Lightning has it.
    """
    with torch.device("meta"):
        module = build()
    with FakeTensorMode(allow_non_fake_inputs=True), _Storages() as storages:
        module.to_empty(device="cpu")
        weights = storages.now
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        gradients = sum(parameter.nbytes for parameter in parameters)
        values = {name: torch.zeros(shape, dtype=dtype) for name, (shape, dtype) in batch.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            result = loss(module, values)
        forward = storages.peak + gradients
        torch.autograd.backward(result)
        moments = (3 if averaged else 2) * gradients
        return Footprint(
            weights=weights,
            training_state=gradients + moments,
            peak=max(forward, storages.peak) + moments,
            large=storages.large_at_peak,
        )


class _Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types its modes loosely
    """Counts the bytes of all storages that are alive, and the most so far."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.large = self.large_at_peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive.add(key)
            size = storage.nbytes()
            self.now += size
            self.large += size if size >= LARGE else 0
            if self.now > self.peak:
                self.peak, self.large_at_peak = self.now, self.large
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size
        self.large -= size if size >= LARGE else 0
