"""How much memory a prediction may take, how much it takes anyway, and the plan that follows."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from swin_unetr.device import GpuMemory, gpu_peak_during
from swin_unetr.errors import ConfigError
from swin_unetr.inference.engine.finish import BLOCK_BYTES, BLOCKS_HELD, label_type
from swin_unetr.inference.engine.memory_plan import MemoryPlan, Summed, make_plan
from swin_unetr.inference.engine.models import Ensemble, Member
from swin_unetr.inference.engine.sums import SUMS
from swin_unetr.inference.engine.windows import lay_windows
from swin_unetr.inference.engine.work import network_of
from swin_unetr.machine import available, peak_during, resident, size_in_words
from swin_unetr.postprocessing.components import BYTES_PER_VOXEL
from swin_unetr.trust.recorder import BYTES_PER_VOXEL as SIGNAL_BYTES
from transforms.grids import Grids
from transforms.prepare import Prepared

#: Share of the machine's available memory that is taken if no limit is set.
_SHARE = 0.9
#: Bytes that a network takes for each voxel of its windows, a high estimate; measured only if that is too much.
_WORKSPACE_PER_VOXEL = 2500
#: Bytes that a process takes for each byte that it uses: the allocator keeps freed memory (measured: up to 16 %).
_SLACK = 1.15


class Budget:
    """Plans predictions within a limit.

    On a CPU the limit is for the whole process. On a GPU it is for the GPU's memory, which holds the scan and the sums;
    the results are in the machine's memory.

    Args:
        ensemble: the models.
        device: of their networks.
        limit: bytes that the process may take. If None, nearly all that is available.
        accumulate: type of the sums, "float32" or "float16", or "auto": float16 where nothing fits in float32.
        with_signals: whether signals are collected too.
        gpu_memory: gives the memory of a GPU.

    Raises:
        ConfigError: the limit is too little for any scan, or no such type.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        device: torch.device,
        limit: int | None,
        accumulate: str = "auto",
        *,
        with_signals: bool = False,
        gpu_memory: Callable[[torch.device], GpuMemory] = GpuMemory.of,
    ) -> None:
        #: Whether signals are collected too.
        self.with_signals = with_signals
        if accumulate not in ("auto", *SUMS):
            raise ConfigError(f"accumulate: {accumulate!r} is not one of auto, {', '.join(SUMS)}")
        self._ensemble, self._device, self._limit, self._accumulate = ensemble, device, limit, accumulate
        self._gpu_memory = gpu_memory
        self._measured: int | None = None
        if limit is not None and limit < (least := self._least()):
            raise ConfigError(
                f"max_memory: {size_in_words(limit)} is too little for the models and one window, which need at least "
                f"{size_in_words(least)}; large scans need more"
            )

    def plan(
        self, prepared: Prepared, *, with_probabilities: bool, reserve: int = 0, most_sums: int | None = None
    ) -> MemoryPlan:
        """The plan for a scan in memory.

        Args:
            prepared: the scan.
            with_probabilities: whether the probabilities are returned too.
            reserve: bytes of the machine's memory to leave to others.
            most_sums: bytes that the sums may take, after more of them failed.

        Raises:
            ConfigError: the memory is too little; gives the least that is enough.
        """
        x, y, z = prepared.grids.prepared_shape
        members = self._ensemble.members
        summed = [Summed(lay_windows((x, y, z), each.inference), each.backend.channels) for each in members]
        words = " and ".join(dict.fromkeys(map(_in_words, members)))
        plan = partial(
            make_plan, summed, prepared.grids, summed=words, accumulate=self._accumulate, most_sums=most_sums
        )
        others = reserve + self._outputs(prepared.grids, with_probabilities=with_probabilities)
        if self._device.type == "cuda":
            return self._on_gpu(plan, prepared, others)
        return self._on_cpu(plan, others)

    def _on_gpu(self, plan: partial[MemoryPlan], prepared: Prepared, others: int) -> MemoryPlan:
        """The results and what is left to others are in the machine's memory, everything else on the GPU."""
        if (wanted := int(_SLACK * others)) > (free := available()):
            raise ConfigError(
                f"memory: the results of this scan, and what is read meanwhile, take {size_in_words(wanted)}; the "
                f"machine has {size_in_words(free)} available; leave --save-probabilities out, or crop the scan"
            )
        workspace = self._workspace()  # first: the first call takes memory that it does not give back
        memory = self._gpu_memory(self._device)
        budget = int(_SHARE * memory.left)
        if self._limit is not None:
            budget = min(budget, self._limit - memory.allocated)
        image = prepared.image.numel() * prepared.image.element_size()
        return plan(fixed=workspace + image + BLOCKS_HELD * BLOCK_BYTES["cuda"], budget=budget)

    def _on_cpu(self, plan: partial[MemoryPlan], others: int) -> MemoryPlan:
        now = resident()
        budget = now + int(_SHARE * available()) if self._limit is None else self._limit
        taken = now + int(_SLACK * (others + BLOCKS_HELD * BLOCK_BYTES["cpu"]))
        # Measuring takes as long as a few windows, so it is done only if it could save a tile.
        roomy = plan(fixed=taken + self._generous_workspace(), budget=sys.maxsize, slack=_SLACK)
        if roomy.bytes <= budget:
            return replace(roomy, budget=budget)
        workspace = self._workspace()
        taken += resident() - now  # what the first call keeps
        return plan(fixed=taken + workspace, budget=budget, slack=_SLACK)

    def _least(self) -> int:
        """What is held already, and one window's results and their sum."""
        held = resident() if self._device.type == "cpu" else 0
        kind = SUMS["float32" if self._accumulate == "float32" else "float16"]
        return held + max(
            (4 * each.backend.channels + kind.voxel_bytes(each.backend.channels)) * math.prod(each.inference.roi_size)
            for each in self._ensemble.members
        )

    def _outputs(self, grids: Grids, *, with_probabilities: bool) -> int:
        task = self._ensemble.task
        each = np.dtype(label_type(task)).itemsize + (4 * task.num_classes if with_probabilities else 0)
        each += BYTES_PER_VOXEL if self._ensemble.postprocess else 0
        each += SIGNAL_BYTES if self.with_signals else 0
        return math.prod(grids.source_shape) * each

    def _generous_workspace(self) -> int:
        return _WORKSPACE_PER_VOXEL * max(
            each.inference.batch_size * math.prod(each.inference.roi_size) for each in self._ensemble.members
        )

    def _workspace(self) -> int:
        """Bytes that the networks take beside their weights, measured with one batch each at the first call."""
        if self._measured is None:
            self._measured = max(map(self._measure, self._ensemble.members))
        return self._measured

    def _measure(self, member: Member) -> int:
        settings, channels = member.inference, len(self._ensemble.task.channels)
        batch = torch.zeros(settings.batch_size, channels, *settings.roi_size, device=self._device)
        member.backend(batch)  # what is taken once, at the first call, is not given back
        network = network_of(member)
        if self._device.type == "cuda":
            return batch.nbytes + gpu_peak_during(lambda: network(batch), self._device)
        return peak_during(lambda: network(batch)) - resident()


def _in_words(member: Member) -> str:
    if member.head is None:
        return f"{member.backend.channels} class scores"
    return f"{member.backend.channels} features (of {len(member.head.bias)} classes)"
