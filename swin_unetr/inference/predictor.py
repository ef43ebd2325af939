"""From a scan in memory to labels in memory, both on the scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.errors import DataError
from swin_unetr.inference.accumulate import Network, Sweep
from swin_unetr.inference.budget import Budget
from swin_unetr.inference.device import choose_compute, memory_errors_in_words
from swin_unetr.inference.finish import Pass, Result, finish_tile
from swin_unetr.inference.models import Member, ModelArgument, load_ensemble
from swin_unetr.inference.plan import Plan
from swin_unetr.inference.sizes import parse_size
from swin_unetr.inference.windows import blending_weights, empty_windows, lay_windows
from swin_unetr.postprocessing.components import clean
from transforms.geometry import Volume
from transforms.linear import Box
from transforms.prepare import Prepared, prepare
from transforms.way_back import WayBack

#: Called with the number of windows that are done, and of all; those that are left out do not count.
OnWindows = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What came of a scan, on its own grid in stored order."""

    #: X x Y x Z label values, unsigned integers.
    labels: NDArray[Any]
    #: Classes x X x Y x Z, float32; none where they were not asked for.
    probabilities: NDArray[np.float32] | None
    #: Windows that were computed, and that were left out because nothing is in them.
    windows_done: int
    windows_skipped: int
    #: How it was done.
    plan: Plan
    #: Voxels that the post-processing took out of the labels, by structure; the probabilities are as they were.
    removed: Mapping[str, int] = field(default_factory=dict)


class Predictor:
    """Segments scans with one model, or with the mean of several models' probabilities.

    Args:
        models: model folders, run folders (their `best/`), or loaded models; one or a sequence.
        device: "auto" (the first CUDA GPU, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        precision: "float32", "bfloat16", "float16", or "auto": what the hardware multiplies natively.
        backend: what runs the network: "torch", "compile", "openvino", "onnx", or "auto".
        overlap: share of a window that overlaps its neighbour; none takes each model's own.
        roi_size: size of a window in voxels X, Y, Z; none takes each model's own.
        weights: how overlapping windows are blended, "gaussian" or "constant"; none takes each model's own.
        tta: whether to average over mirror images of each window along the axes that the model's training mirrored;
            none takes each model's own.
        batch_size: windows in one pass of the network; none takes each model's own.
        max_memory: what the process may take, on a GPU what it may take there, in bytes or as "4GB"; none takes nearly
            all that is available.
        accumulate: type in which overlapping windows are summed, "float32" or "float16", which takes half the memory
            and may change a label where two are nearly equal; "auto": float16 only where `max_memory` is too little for
            any number of tiles in float32.
        skip_empty: whether windows in which every channel has one value throughout are left out; what no other window
            covers is background.
        postprocess: whether components are removed as the models' folders say; several models must agree on it.
        cache: whether what a backend makes of a model is kept in the model's folder.

    Raises:
        ConfigError: an option that cannot be had, models that do not go together, or too little memory for any scan.
        CheckpointError: a folder that holds no usable model.
    """

    def __init__(
        self,
        models: ModelArgument | Sequence[ModelArgument],
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: str = "auto",
        overlap: float | None = None,
        roi_size: Triple | None = None,
        weights: str | None = None,
        tta: bool | None = None,
        batch_size: int | None = None,
        max_memory: int | str | None = None,
        accumulate: str = "auto",
        skip_empty: bool = True,
        postprocess: bool = True,
        cache: bool = True,
    ) -> None:
        self.compute = choose_compute(device, precision, backend)
        self.ensemble = load_ensemble(
            models,
            self.compute,
            cache=cache,
            postprocess=postprocess,
            overlap=overlap,
            roi_size=roi_size,
            weights=weights,
            tta=tta,
            batch_size=batch_size,
        )
        self.task = self.ensemble.task
        self.max_memory = parse_size(max_memory) if isinstance(max_memory, str) else max_memory
        self.skip_empty, self.accumulate = skip_empty, accumulate
        self._budget = Budget(self.ensemble, self.compute.device, self.max_memory, accumulate)

    def predict_volume(self, volume: Volume, on_windows: OnWindows | None = None) -> NDArray[Any]:
        """Label values of a scan, X x Y x Z in its stored order; see `segment`."""
        return self.segment(volume, on_windows=on_windows).labels

    def segment(
        self, volume: Volume, *, with_probabilities: bool = False, on_windows: OnWindows | None = None
    ) -> Segmentation:
        """Segment a scan.

        Args:
            volume: channels x X x Y x Z as stored, in the order of the task's channels, with its geometry.
            with_probabilities: whether to give the probabilities too; they take classes x voxels x 4 bytes.
            on_windows: told of the progress.

        Raises:
            DataError: wrong number of channels, or not enough memory.
            ConfigError: the memory that may be taken is too little.
        """
        return self.segment_prepared(self.prepare(volume), with_probabilities=with_probabilities, on_windows=on_windows)

    def prepare(self, volume: Volume) -> Prepared:
        """Turn, crop, resample and normalise a scan, in any thread; see `segment`."""
        channels = self.task.channels
        if volume.array.shape[0] != len(channels):
            raise DataError(
                f"a scan with {volume.array.shape[0]} channels where the model wants {len(channels)}: "
                f"{', '.join(channels)}"
            )
        with memory_errors_in_words(self.compute.device), torch.inference_mode():
            return prepare(volume, self.ensemble.preprocess)

    def plan(self, prepared: Prepared, *, with_probabilities: bool = False, reserve: int = 0) -> Plan:
        """How a scan will be segmented in the memory there is.

        Args:
            prepared: the scan.
            with_probabilities: whether they will be given too.
            reserve: bytes to leave to others.

        Raises:
            ConfigError: the memory is too little; tells the least that would do.
        """
        return self._budget.plan(prepared, with_probabilities=with_probabilities, reserve=reserve)

    def options(self) -> dict[str, Any]:
        """What a record says of what was asked for, beside the models and where they run."""
        return {"skip_empty": self.skip_empty, "accumulate": self.accumulate}

    def segment_prepared(
        self,
        prepared: Prepared,
        *,
        plan: Plan | None = None,
        with_probabilities: bool = False,
        on_windows: OnWindows | None = None,
    ) -> Segmentation:
        """Segment a prepared scan; see `segment`.

        Args:
            prepared: the scan.
            plan: of it, made with the same `with_probabilities`; none makes one.
            with_probabilities: whether to give the probabilities too.
            on_windows: told of the progress.
        """
        plan = plan or self.plan(prepared, with_probabilities=with_probabilities)
        with memory_errors_in_words(self.compute.device), torch.inference_mode():
            work = [_Work(each, prepared, self.compute.device, self.skip_empty) for each in self.ensemble.members]
            way_back = prepared.way_back
            total = sum(each.count(way_back, plan) for each in work)
            done = 0

            def count(windows: int) -> None:
                nonlocal done
                done += windows
                if on_windows is not None:
                    on_windows(done, total)

            result = Result.empty(self.task, way_back.source_shape, with_probabilities=with_probabilities)
            for tile in plan.tiles:
                passes = [each.open(way_back, plan, tile, count) for each in work]
                finish_tile(passes, plan, tile, way_back, self.task, result)
            del work, passes  # what they summed is not needed beside the components
            voxel_mm3 = abs(float(np.linalg.det(prepared.geometry.affine[:3, :3])))
            removed = clean(result.labels, self.ensemble.postprocess, self.task, voxel_mm3)
            return Segmentation(result.labels, result.probabilities, done, plan.windows - done, plan, removed)


class _Work:
    """A model and the windows that it sees of a scan."""

    def __init__(self, member: Member, prepared: Prepared, device: torch.device, skip_empty: bool) -> None:
        x, y, z = prepared.image.shape[1:]
        self._member = member
        self._layout = lay_windows((x, y, z), member.inference)
        self._weights = blending_weights(member.inference, device)
        self._skip = empty_windows(prepared.image, self._layout) if skip_empty else frozenset[Triple]()
        self._image = prepared.image.to(device)

    def count(self, way_back: WayBack, plan: Plan) -> int:
        """Windows to compute, without those left out."""
        owned = [_owned(way_back, tile) for tile in plan.tiles]
        return sum(start not in self._skip for box in owned for start in self._layout.inside(box))

    def open(self, way_back: WayBack, plan: Plan, tile: Box, on_windows: Callable[[int], None]) -> Pass:
        """Begin a tile."""
        member = self._member
        classes = member.backend.channels if member.head is None else len(member.head.bias)
        sweep = Sweep(
            self._image,
            self._layout,
            plan.axis,
            _owned(way_back, tile),
            _network(member),
            channels=member.backend.channels,
            weights=self._weights,
            batch_size=member.inference.batch_size,
            skip=self._skip,
            accumulate=plan.accumulate,
            on_windows=on_windows,
        )
        return Pass(sweep, member.head, max(classes, member.backend.channels))


def _owned(way_back: WayBack, tile: Box) -> Box:
    x, y, z = (way_back.needed(axis, range(*span)) for axis, span in enumerate(tile))
    return x, y, z


def _network(member: Member) -> Network:
    """The network of a model; with `tta` its mean over mirror images of each window, along the model's own axes."""
    if not member.inference.tta:
        return member.backend
    dims = [axis + 2 for axis in member.inference.mirror_axes]
    mirrorings = list(chain.from_iterable(combinations(dims, number) for number in range(len(dims) + 1)))

    def mean(windows: Tensor) -> Tensor:
        total = torch.zeros((), device=windows.device)
        for flipped in mirrorings:  # each result is used up before the next call, which may overwrite it
            total = total + member.backend(windows.flip(flipped)).float().flip(flipped)
        return total.div_(len(mirrorings))

    return mean
