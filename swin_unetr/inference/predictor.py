"""From a scan in memory to labels in memory, both on the scan's own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from swin_unetr.config import Triple
from swin_unetr.device import give_back, is_out_of_memory, memory_errors_in_words, too_little_memory
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.backends.compute import choose_compute
from swin_unetr.inference.engine.budget import Budget
from swin_unetr.inference.engine.finish import Result, finish_tile
from swin_unetr.inference.engine.memory_plan import MemoryPlan
from swin_unetr.inference.engine.models import ModelArgument, load_ensemble
from swin_unetr.inference.engine.watch import Watch, watching
from swin_unetr.inference.engine.work import Work
from swin_unetr.machine import parse_size
from swin_unetr.postprocessing.components import clean
from swin_unetr.trust.calibration import is_calibrated
from swin_unetr.trust.recorder import Recorder
from swin_unetr.trust.signals import CaseSignals
from swin_unetr.words import count
from transforms.geometry import Volume
from transforms.grids import Grids
from transforms.io_memory import from_memory
from transforms.prepare import Prepared, prepare

#: Called with the number of windows done and the number of all; windows that are left out do not count.
OnWindows = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for a scan, on its own grid in stored order."""

    #: X x Y x Z label values, unsigned integers.
    labels: NDArray[Any]
    #: Classes x X x Y x Z, float32; None if they were not asked for.
    probabilities: NDArray[np.float32] | None
    #: Windows that were computed, and that were left out because nothing is in them.
    windows_done: int
    windows_skipped: int
    #: How it was done.
    plan: MemoryPlan
    #: Voxels that the post-processing took out of the labels, by structure; the probabilities are as they were.
    removed: Mapping[str, int] = field(default_factory=dict)
    #: What did not go as planned, for people.
    notes: tuple[str, ...] = ()
    #: Signals of how sure the result is, and the entropy of each voxel at the model's temperature (X x Y x Z, in parts
    #: of 255); None if they were not asked for.
    signals: CaseSignals | None = None
    uncertainty: NDArray[np.uint8] | None = None


class Predictor:
    """Segments scans with one model, or with the mean of several models' probabilities.

    Args:
        models: model folders, run folders (their `best/`), or loaded models; one or a sequence.
        device: "auto" (the first CUDA GPU, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        precision: "float32", "bfloat16", "float16", or "auto": what the hardware multiplies natively.
        backend: what runs the network: "auto", "torch", "openvino", or another name in
            `swin_unetr.inference.backends.registry.BACKENDS`.
        overlap: share of a window that overlaps its neighbour. If None, each model's own.
        roi_size: size of a window in voxels X, Y, Z. If None, each model's own.
        weights: how overlapping windows are blended, "gaussian" or "constant". If None, each model's own.
        tta: whether to average over mirror images of each window along the axes that the model's training mirrored.
            If None, each model's own.
        batch_size: windows in one pass of the network. If None, each model's own.
        max_memory: memory that the process may take (on a GPU: of the GPU's memory), in bytes or as "4GB". If None,
            nearly all that is available.
        accumulate: type in which overlapping windows are summed, "float32" or "float16", which takes half the memory
            and may change a label where two are nearly equal; "auto": float16 only where `max_memory` is too little for
            any number of tiles in float32.
        skip_empty: whether windows in which every channel has one value throughout are left out; what no other window
            covers is background.
        postprocess: whether components are removed as the models' folders say; several models must agree on it.
        cache: whether what a backend makes of a model is kept in the model's folder.
        signals: whether signals of how sure a result is are collected, for `swin_unetr.trust`. If None, where a
            model's folder holds a calibration.

    Raises:
        ConfigError: an option that is not available, models that do not go together, or too little memory for any
            scan.
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
        signals: bool | None = None,
    ) -> None:
        self.ensemble = load_ensemble(
            models,
            choose_compute(device, precision, backend),
            cache=cache,
            postprocess=postprocess,
            signals=signals,
            overlap=overlap,
            roi_size=roi_size,
            weights=weights,
            tta=tta,
            batch_size=batch_size,
        )
        self.compute = self.ensemble.compute
        self.task = self.ensemble.task
        self.max_memory = parse_size(max_memory) if isinstance(max_memory, str) else max_memory
        self.skip_empty, self.accumulate = skip_empty, accumulate
        if signals is None:
            signals = any(is_calibrated(member.folder) for member in self.ensemble.members)
        self.signals, self._temperature = signals, 1.0
        self._budget = Budget(self.ensemble, self.compute.device, self.max_memory, accumulate, with_signals=signals)

    def collect_signals(self, collect: bool, temperature: float = 1.0) -> None:
        """Whether segmentations have signals from now on, and the temperature of their uncertainty."""
        self.signals = self._budget.with_signals = collect
        self._temperature = temperature

    def __call__(self, image: Any) -> Any:
        """Label values of an image of another library, as a label map of the same kind; see `segment.segment`."""
        taken = from_memory(image)
        return taken.labels_like(self.predict_volume(taken.volume))

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
            on_windows: called with the progress.

        Raises:
            DataError: wrong number of channels, not enough memory, or scores that are not finite.
            ConfigError: `max_memory` is too little.
        """
        return self.segment_prepared(self.prepare(volume), with_probabilities=with_probabilities, on_windows=on_windows)

    def prepare(self, volume: Volume) -> Prepared:
        """Turn, crop, resample and normalise a scan, in any thread; see `segment`."""
        channels = self.task.channels
        if volume.array.shape[0] != len(channels):
            raise DataError(
                f"a scan with {count(len(volume.array), 'channel')} where the model wants {len(channels)}: "
                f"{', '.join(channels)}"
            )
        with memory_errors_in_words(self.compute.device), torch.inference_mode():
            return prepare(volume, self.ensemble.preprocess, channels)

    def plan(self, prepared: Prepared, *, with_probabilities: bool = False, reserve: int = 0) -> MemoryPlan:
        """How a scan will be segmented in the memory that is available.

        Args:
            prepared: the scan.
            with_probabilities: whether they will be given too.
            reserve: bytes to leave to others.

        Raises:
            ConfigError: the memory is too little; gives the least that is enough.
        """
        with memory_errors_in_words(self.compute.device):
            return self._budget.plan(prepared, with_probabilities=with_probabilities, reserve=reserve)

    def options(self) -> dict[str, Any]:
        """The options that a record names, beside the models and where they run."""
        return {"skip_empty": self.skip_empty, "accumulate": self.accumulate}

    def segment_prepared(
        self,
        prepared: Prepared,
        *,
        plan: MemoryPlan | None = None,
        with_probabilities: bool = False,
        on_windows: OnWindows | None = None,
    ) -> Segmentation:
        """Segment a prepared scan; see `segment`.

        Args:
            prepared: the scan.
            plan: of it, made with the same `with_probabilities`. If None, one is made.
            with_probabilities: whether to give the probabilities too.
            on_windows: called with the progress.

        Raises:
            DataError: scores that are not finite, or not enough memory for any plan.
        """
        plan = plan or self.plan(prepared, with_probabilities=with_probabilities)
        notes: list[str] = []
        while True:
            try:
                with torch.inference_mode():
                    done = self._segment(prepared, plan, with_probabilities, on_windows)
                return replace(done, notes=tuple(notes))
            except FloatingPointError:
                raise DataError(_not_finite(self.compute.precision)) from None
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Only out here, where the error no longer holds what was computed.
            give_back(self.compute.device)
            plan = self._smaller(plan, prepared, with_probabilities)
            notes.append(f"not enough memory for the plan; trying again with a smaller one: {plan}")

    def _smaller(self, plan: MemoryPlan, prepared: Prepared, with_probabilities: bool) -> MemoryPlan:
        """A plan whose sums take at most half as much.

        Raises:
            DataError: no such plan fits.
        """
        try:
            with memory_errors_in_words(self.compute.device):
                return self._budget.plan(prepared, with_probabilities=with_probabilities, most_sums=plan.sums // 2)
        except ConfigError:
            raise too_little_memory(self.compute.device) from None

    def _segment(
        self, prepared: Prepared, plan: MemoryPlan, with_probabilities: bool, on_windows: OnWindows | None
    ) -> Segmentation:
        members, grids = self.ensemble.members, prepared.grids
        recorder = Recorder(self.task, grids.native_shape, len(members), self._temperature) if self.signals else None
        with watching(members, recorder) as watches:
            return self._segment_watched(prepared, plan, with_probabilities, on_windows, recorder, watches)

    def _segment_watched(
        self,
        prepared: Prepared,
        plan: MemoryPlan,
        with_probabilities: bool,
        on_windows: OnWindows | None,
        recorder: Recorder | None,
        watches: Sequence[Watch | None],
    ) -> Segmentation:
        image = prepared.image.to(self.compute.device)  # once, for all models
        work = [
            Work(each, prepared.image, image, self.skip_empty, watch)
            for each, watch in zip(self.ensemble.members, watches, strict=True)
        ]
        grids = prepared.grids
        total = sum(each.count(grids, plan) for each in work)
        done = 0

        def count(windows: int) -> None:
            nonlocal done
            done += windows
            if on_windows is not None:
                on_windows(done, total)

        result = Result.empty(self.task, grids.source_shape, with_probabilities=with_probabilities)
        for tile in plan.tiles:
            passes = [each.open(grids, plan, tile, count) for each in work]
            finish_tile(passes, plan, tile, grids, self.task, result, recorder)
        del work, passes  # what they summed is not needed beside the components
        voxel_mm3 = abs(float(np.linalg.det(prepared.geometry.affine[:3, :3])))
        removed = clean(result.labels, self.ensemble.postprocess, self.task, voxel_mm3)
        segmentation = Segmentation(result.labels, result.probabilities, done, plan.windows - done, plan, removed)
        return segmentation if recorder is None else _with_signals(segmentation, recorder, grids, voxel_mm3)


def _with_signals(done: Segmentation, recorder: Recorder, grids: Grids, voxel_mm3: float) -> Segmentation:
    x, y, z = (slice(*span) for span in grids.crop)
    signals = recorder.signals(grids.turn.view(done.labels)[x, y, z], voxel_mm3)
    uncertainty = np.zeros(grids.source_shape, np.uint8, order="F")
    grids.turn.view(uncertainty)[x, y, z] = recorder.uncertainty
    return replace(done, signals=signals, uncertainty=uncertainty)


def _not_finite(precision: str) -> str:
    """What to do about scores that are NaN or infinite."""
    words = "the network's scores are not finite (NaN or infinite), so that there is no segmentation"
    if precision == "float16":
        return f"{words}; they overflow in float16: add --precision float32, or bfloat16"
    if precision == "bfloat16":
        return f"{words}; add --precision float32, and check the model on another scan"
    return f"{words}; check the scan's intensities, and the model on another scan: its weights may be damaged"
