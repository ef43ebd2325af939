"""Streaming in slabs and tiles, over random grids, against the whole at once: MONAI's windows, then resampling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference
from torch import Tensor

from swin_unetr.config import InferenceConfig
from swin_unetr.errors import ConfigError
from swin_unetr.inference.engine.accumulate import Sweep
from swin_unetr.inference.engine.finish import Pass, Result, finish_tile
from swin_unetr.inference.engine.memory_plan import MemoryPlan, Summed, make_plan
from swin_unetr.inference.engine.windows import blending_weights, lay_windows
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry
from transforms.grids import Grids, Turn

CPU = torch.device("cpu")
TASK = Task(name="x", modality="CT", channels=("CT",), targets=exclusive(("a", "b")))
HUGE = 1 << 50


@dataclass(frozen=True)
class Situation:
    """A scan's grid, a model's grid and windows, and how much of the memory of one piece there is."""

    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    model_mm: float | None
    windows: InferenceConfig
    share: float
    accumulate: str
    shear: float

    @property
    def grids(self) -> Grids:
        """The grids."""
        affine = np.diag([*self.voxel_mm, 1.0])
        affine[1, 2] = self.shear * self.voxel_mm[2]
        spacing = None if self.model_mm is None else (self.model_mm,) * 3
        turn = Turn.to_ras(Geometry(self.shape, affine))
        x, y, z = self.shape
        return Grids.of(turn, ((0, x), (0, y), (0, z)), spacing)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    axis = draw(st.integers(0, 2))  # the one with thick slices
    shape, voxel = [draw(st.integers(3, 14)) for _ in range(3)], [2.0] * 3
    thick = draw(st.sampled_from([0.7, 2.0, 5.0, 8.0, 10.0, 20.0, 40.0]))
    voxel[axis] = thick
    shape[axis] = draw(st.integers(1, max(2, int(160 / thick))))
    roi = [draw(st.sampled_from([4, 8, 12, 24])) for _ in range(3)]
    windows = InferenceConfig(
        roi_size=(roi[0], roi[1], roi[2]),
        overlap=draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9])),
        batch_size=draw(st.integers(1, 3)),
        weights=draw(st.sampled_from(["gaussian", "constant"])),
    )
    return Situation(
        shape=(shape[0], shape[1], shape[2]),
        voxel_mm=(voxel[0], voxel[1], voxel[2]),
        model_mm=draw(st.sampled_from([None, 2.0, 3.0])),
        windows=windows,
        share=draw(st.sampled_from([1.0, 0.6, 0.3])),
        accumulate=draw(st.sampled_from(["float32", "float32", "float16"])),
        shear=draw(st.sampled_from([0.0, 0.0, 0.3])),
    )


def network(windows: Tensor) -> Tensor:
    """Three scores that depend on a voxel's neighbours and on its place in the window."""
    ramp = torch.linspace(0, 2, windows.shape[-1])
    return torch.cat([windows + windows.roll(1, dims=2), windows * ramp, ramp.flip(0) + 0 * windows], dim=1)


def plan_of(situation: Situation, grids: Grids) -> MemoryPlan:
    """With so little memory as the situation says, where any tiles fit into it."""
    summed = Summed(lay_windows(grids.prepared_shape, situation.windows), 3)
    whole = make_plan([summed], grids, fixed=0, budget=HUGE, accumulate=situation.accumulate)
    try:
        budget = int(situation.share * whole.bytes)
        return make_plan([summed], grids, fixed=0, budget=budget, accumulate=situation.accumulate)
    except ConfigError:
        return whole


def streamed(image: Tensor, situation: Situation, grids: Grids) -> tuple[Result, int, MemoryPlan]:
    """The result tile by tile, the windows that were computed, and the plan."""
    plan = plan_of(situation, grids)
    counts: list[int] = []
    result = Result.empty(TASK, grids.source_shape, with_probabilities=True)
    for tile in plan.tiles:
        x, y, z = (grids.needed(axis, range(*span)) for axis, span in enumerate(tile))
        sweep = Sweep(
            image,
            lay_windows(grids.prepared_shape, situation.windows),
            plan.axis,
            (x, y, z),
            network,
            channels=3,
            weights=blending_weights(situation.windows, CPU),
            batch_size=situation.windows.batch_size,
            accumulate=plan.accumulate,
            on_windows=counts.append,
        )
        finish_tile([Pass(sweep, None, 3)], plan, tile, grids, TASK, result)
    return result, sum(counts), plan


def at_once(image: Tensor, situation: Situation, grids: Grids) -> np.ndarray:
    """Probabilities by MONAI's inferer on the whole image, its scores resampled in one go."""
    config = situation.windows
    scores = sliding_window_inference(
        image[None], config.roi_size, 1, network, overlap=config.overlap, mode=config.weights
    )[0]
    x, y, z = grids.native_shape
    native = grids.interpolate(scores, (0, 0, 0), ((0, x), (0, y), (0, z)))
    found = np.zeros((3, *grids.source_shape), np.float32)
    grids.place(native.softmax(dim=0).numpy(), ((0, x), (0, y), (0, z)), found)
    return found


def assert_streams_as_at_once(situation: Situation) -> None:
    grids = situation.grids
    image = torch.rand((1, *grids.prepared_shape), generator=torch.Generator().manual_seed(0)) * 4
    result, windows, plan = streamed(image, situation, grids)
    expected = at_once(image, situation, grids)
    exact = plan.accumulate == "float32"
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities, expected, atol=2e-5 if exact else 2e-2)
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] > (5e-5 if exact else 5e-2)
    assert np.array_equal(result.labels[clear], expected.argmax(axis=0)[clear])
    assert windows == plan.windows


@settings(max_examples=120, deadline=None, derandomize=True)
@given(situations())
def test_any_slices_spacing_windows_and_tiles_give_what_the_whole_volume_gives(situation: Situation) -> None:
    assert_streams_as_at_once(situation)


def test_slices_five_times_as_thick_as_the_model_s_voxels() -> None:
    """The planes between two slabs of slices are skipped, windows that are half summed among them."""
    windows = InferenceConfig(roi_size=(8, 8, 64), overlap=0.5)
    thick = Situation((6, 5, 52), (2.0, 2.0, 10.0), 2.0, windows, 1.0, "float32", 0.0)
    for slices in (52, 53, 64):
        assert_streams_as_at_once(replace(thick, shape=(6, 5, slices)))
