"""The moving accumulator against MONAI's inferer, which holds everything, and against itself in pieces."""

from itertools import product

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from swin_unetr.config import InferenceConfig
from swin_unetr.inference.engine.accumulate import Sweep
from swin_unetr.inference.engine.windows import blending_weights, empty_windows, lay_windows

CPU = torch.device("cpu")


def network(windows: Tensor) -> Tensor:
    """Three channels that depend on a voxel's neighbours and on its place in the window."""
    ramp = torch.linspace(0, 1, windows.shape[-1])
    return torch.cat([windows + windows.roll(1, dims=2), windows * ramp, ramp.flip(0) + 0 * windows], dim=1)


def by_monai(image: Tensor, config: InferenceConfig) -> Tensor:
    return sliding_window_inference(
        image[None], config.roi_size, config.batch_size, network, overlap=config.overlap, mode=config.weights
    )[0]


def sweep(image: Tensor, config: InferenceConfig, axis: int, owned, step: int, skip=frozenset(), count=None) -> Tensor:
    """All means of a box, asked for plane by plane as the finisher does; never-touched boxes are NaN."""
    layout = lay_windows(tuple(image.shape[1:]), config)
    moving = Sweep(
        image,
        layout,
        axis,
        owned,
        network,
        channels=3,
        weights=blending_weights(config, CPU),
        batch_size=config.batch_size,
        skip=skip,
        on_windows=count,
    )
    found = []
    for first in range(0, image.shape[axis + 1], step):
        stop = min(first + step, image.shape[axis + 1])
        before = max(0, first - 1)  # as where planes are interpolated
        moving.release(before)
        moving.reach(stop)
        box = tuple((before, stop) if each == axis else span for each, span in enumerate(owned))
        block = moving.block(box)
        size = [high - low for low, high in box]
        values = torch.full((3, *size), torch.nan) if block is None else block.values
        if block is not None and block.covered is not None:
            values = values.masked_fill(~block.covered, torch.nan)
        found.append(values.narrow(axis + 1, first - before, stop - first).clone())
    return torch.cat(found, dim=axis + 1)


@pytest.mark.parametrize(
    ("size", "overlap", "weights", "batch_size"),
    [
        ((40, 33, 24), 0.5, "gaussian", 3),
        ((40, 33, 24), 0.25, "constant", 1),
        ((16, 16, 16), 0.5, "gaussian", 1),
        ((10, 50, 7), 0.75, "gaussian", 4),
        ((5, 6, 7), 0, "constant", 1),
        ((30, 1, 17), 0.9, "gaussian", 5),
        ((47, 18, 16), 0.6, "gaussian", 2),
    ],
)
@pytest.mark.parametrize(("axis", "step"), [(0, 3), (1, 7), (2, 100)])
def test_equals_monai(size, overlap, weights, batch_size, axis, step) -> None:
    image = torch.rand(1, *size)
    config = InferenceConfig(roi_size=(16, 16, 16), overlap=overlap, weights=weights, batch_size=batch_size)
    whole = tuple((0, each) for each in size)
    torch.testing.assert_close(sweep(image, config, axis, whole, step), by_monai(image, config), rtol=0, atol=1e-5)


def test_pieces_equal_the_whole_to_the_bit() -> None:
    image = torch.rand(1, 40, 33, 29)
    config = InferenceConfig(roi_size=(16, 16, 16), overlap=0.4)
    whole = sweep(image, config, 0, ((0, 40), (0, 33), (0, 29)), 5)
    for y, z in product(((0, 11), (11, 12), (12, 33)), ((0, 20), (20, 29))):
        assert torch.equal(sweep(image, config, 0, ((0, 40), y, z), 4), whole[:, :, slice(*y), slice(*z)])


def test_windows_that_do_not_touch_the_box_are_not_computed() -> None:
    image = torch.rand(1, 16, 64, 16)
    config = InferenceConfig(roi_size=(16, 16, 16), overlap=0.5)
    counts: list[int] = []
    sweep(image, config, 0, ((0, 16), (0, 8), (0, 16)), 8, count=counts.append)
    assert sum(counts) == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_windows_left_out_leave_their_voxels_to_the_others(axis) -> None:
    image = torch.zeros(1, 48, 20, 16)
    image[:, :20] = torch.rand(1, 20, 20, 16)
    config = InferenceConfig(roi_size=(16, 16, 16), overlap=0.5)
    layout = lay_windows((48, 20, 16), config)
    empty = empty_windows(image, layout)
    assert {start[0] for start in empty} == {24, 32}
    found = sweep(image, config, axis, ((0, 48), (0, 20), (0, 16)), 5, skip=empty)
    assert found[:, 32:].isnan().all()
    torch.testing.assert_close(found[:, :24], by_monai(image, config)[:, :24], rtol=0, atol=1e-5)
    assert not found[:, 24:32].isnan().any()  # by the window that starts at 16 alone


def test_only_the_planes_that_windows_touch_are_held() -> None:
    image = torch.rand(1, 200, 16, 16)
    config = InferenceConfig(roi_size=(16, 16, 16), overlap=0.5)
    layout = lay_windows((200, 16, 16), config)
    moving = Sweep(
        image, layout, 0, ((0, 200), (0, 16), (0, 16)), network, channels=3, weights=blending_weights(config, CPU)
    )
    for first in range(0, 200, 4):
        moving.release(max(0, first - 1))
        moving.reach(first + 4)
        assert sum(total.values.shape[1] for total in moving._sums.values()) <= 16 + 8
