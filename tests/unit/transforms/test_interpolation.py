"""Interpolation of every order between two grids: against splines of scipy, torch's bicubic, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import map_coordinates
from torch import Tensor

from transforms.linear import Box, GridMap


def mapped(values: NDArray[np.float32], orders: tuple[int, int, int], step: list[float], first: list[float]) -> GridMap:
    """A map from a grid that covers `values` and a little beyond."""
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = first
    sizes = [
        int((length - 1 - start + 0.7) / each) + 1
        for length, start, each in zip(values.shape, first, step, strict=True)
    ]
    whole = tuple((0, length) for length in values.shape)
    return GridMap(matrix, tuple(max(size, 1) for size in sizes), whole, orders)  # type: ignore[arg-type]


def whole(grid: GridMap) -> Box:
    x, y, z = grid.target_shape
    return (0, x), (0, y), (0, z)


def sampled(values: NDArray[np.float32], grid: GridMap) -> NDArray[np.float32]:
    return grid.sample(torch.from_numpy(values)[None], (0, 0, 0), whole(grid))[0].numpy()


def positions(grid: GridMap, axis: int) -> NDArray[np.float64]:
    low, high = grid.bounds[axis]
    return np.clip(grid.matrix[axis, axis] * np.arange(grid.target_shape[axis]) + grid.matrix[axis, 3], low, high - 1)


def catmull_rom(values: NDArray[np.float64], at: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Catmull and Rom's spline is Hermite's with slopes of half the difference of the neighbours."""
    ends = np.pad(values, [(1, 1) if each == axis else (0, 0) for each in range(values.ndim)], mode="edge")
    slopes = (np.take(ends, range(2, ends.shape[axis]), axis) - np.take(ends, range(ends.shape[axis] - 2), axis)) / 2
    if values.shape[axis] == 1:
        return np.take(values, np.zeros(len(at), int), axis)
    spline = CubicHermiteSpline(np.arange(values.shape[axis]), values, slopes, axis=axis)
    found: NDArray[np.float64] = spline(at)
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[np.float32], GridMap]:
    shape = [draw(st.integers(1, 9)) for _ in range(3)]
    values = np.random.default_rng(draw(st.integers(0, 2**16))).normal(0, 100, shape).astype(np.float32)
    step = [draw(st.sampled_from([0.37, 0.5, 0.93, 1.0, 1.71, 2.0])) for _ in range(3)]
    first = [draw(st.sampled_from([0.0, -0.4, 0.21])) for _ in range(3)]
    orders = tuple(draw(st.sampled_from([0, 1, 3])) for _ in range(3))
    return values, mapped(values, orders, step, first)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases())
def test_each_axis_is_interpolated_by_its_order(case: tuple[NDArray[np.float32], GridMap]) -> None:
    values, grid = case
    expected = values.astype(np.float64)
    for axis, order in enumerate(grid.orders):
        at = positions(grid, axis)
        if order == 3:
            expected = catmull_rom(expected, at, axis)
        elif order == 1:
            low = np.minimum(np.floor(at).astype(int), max(expected.shape[axis] - 2, 0))
            upper = np.minimum(low + 1, expected.shape[axis] - 1)
            share = (at - low).reshape([-1 if each == axis else 1 for each in range(3)])
            expected = np.take(expected, low, axis) * (1 - share) + np.take(expected, upper, axis) * share
        else:
            expected = np.take(expected, np.floor(at + 0.5 + 1e-9).astype(int), axis)
    np.testing.assert_allclose(sampled(values, grid), expected, atol=2e-3)  # positions within 1e-5 of a voxel are it


@settings(max_examples=80, deadline=None, derandomize=True)
@given(cases(), st.data())
def test_no_voxel_depends_on_how_the_grid_is_cut(
    case: tuple[NDArray[np.float32], GridMap], data: st.DataObject
) -> None:
    values, grid = case
    box: list[tuple[int, int]] = []
    for size in grid.target_shape:
        start = data.draw(st.integers(0, size - 1))
        box.append((start, data.draw(st.integers(start + 1, size))))
    ends = [grid.needed(axis, range(*each)) for axis, each in enumerate(box)]
    block = torch.from_numpy(values[tuple(slice(*each) for each in ends)])[None]
    x, y, z = (start for start, _ in ends)
    order = data.draw(st.permutations((0, 1, 2)))
    part = grid.sample(block, (x, y, z), tuple(box), tuple(order))  # type: ignore[arg-type]
    all_of_it = grid.sample(torch.from_numpy(values)[None], (0, 0, 0), whole(grid), tuple(order))  # type: ignore[arg-type]
    assert torch.equal(part, all_of_it[(slice(None), *(slice(*each) for each in box))])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(), st.integers(0, 2), st.data())
def test_the_voxels_that_a_plane_reaches_are_those_that_change_with_it(
    case: tuple[NDArray[np.float32], GridMap], axis: int, data: st.DataObject
) -> None:
    values, grid = case
    plane = data.draw(st.integers(0, values.shape[axis] - 1))
    impulse = np.zeros_like(values)
    impulse[(slice(None),) * axis + (plane,)] = 1
    changed = np.moveaxis(sampled(impulse, grid), axis, 0).reshape(grid.target_shape[axis], -1).any(axis=1)
    first, last = grid.reached(axis, range(plane, plane + 1))
    assert not changed[:first].any()
    assert not changed[last:].any()
    if changed.any():
        assert changed[first]
        assert changed[last - 1]


def test_linear_and_nearest_are_those_of_scipy() -> None:
    values = np.random.default_rng(1).normal(0, 10, (7, 8, 9)).astype(np.float32)
    for order in (0, 1):
        grid = mapped(values, (order,) * 3, [0.43, 1.31, 0.77], [0.1, 0.2, 0.05])
        where = np.stack(np.meshgrid(*(positions(grid, axis) for axis in range(3)), indexing="ij"))
        expected = map_coordinates(values, where, order=order, mode="nearest")
        np.testing.assert_allclose(sampled(values, grid), expected, atol=1e-4)


def test_cubic_is_the_bicubic_of_torch_away_from_the_border() -> None:
    """With antialiasing, which does nothing where an image grows, torch takes a = -1/2 as well; its border differs."""
    values = torch.randn(1, 1, 12, 14, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(values, scale_factor=2, mode="bicubic", antialias=True)[0, 0]
    matrix = np.diag([0.5, 0.5, 1.0, 1.0])
    matrix[:2, 3] = -0.25
    grid = GridMap(matrix, (24, 28, 1), ((0, 12), (0, 14), (0, 1)), (3, 3, 1))
    found = grid.sample(values[0, :, :, :, None], (0, 0, 0), whole(grid))[0, :, :, 0]
    inner = (slice(4, -4), slice(4, -4))
    torch.testing.assert_close(found[inner], expected[inner], atol=1e-5, rtol=0)


def test_cubic_keeps_parabolas_and_constants() -> None:
    x, y, z = np.meshgrid(np.arange(9.0), np.arange(8.0), np.arange(7.0), indexing="ij")
    values = (3 + x - 2 * y + 0.5 * x**2 - 0.25 * y**2 + x * y * z).astype(np.float32)
    matrix = np.diag([0.4, 0.3, 0.35, 1.0])
    matrix[:3, 3] = 1.1
    grid = GridMap(matrix, (12, 14, 9), ((0, 9), (0, 8), (0, 7)), (3, 3, 3))
    x, y, z = np.meshgrid(*(positions(grid, axis) for axis in range(3)), indexing="ij")
    expected = 3 + x - 2 * y + 0.5 * x**2 - 0.25 * y**2 + x * y * z
    np.testing.assert_allclose(sampled(values, grid), expected, rtol=1e-5, atol=1e-4)
    flat = sampled(np.full((9, 8, 7), 4321.5, np.float32), grid)
    assert float(np.abs(flat / 4321.5 - 1).max()) < 5e-7


def test_half_way_belongs_to_the_upper_voxel_whatever_the_rounding() -> None:
    values = torch.arange(6.0).view(1, 6, 1, 1)
    for noise in (-1e-12, 0.0, 1e-12):
        matrix = np.diag([0.5, 1.0, 1.0, 1.0])
        matrix[0, 3] = noise
        grid = GridMap(matrix, (11, 1, 1), ((0, 6), (0, 1), (0, 1)), (0, 0, 0))
        found: Tensor = grid.sample(values, (0, 0, 0), whole(grid))
        assert found.flatten().tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize("order", [0, 1, 3])
def test_orders_have_no_effect_on_grids_that_are_not_parallel(order: int) -> None:
    values = torch.randn(1, 6, 7, 8, generator=torch.Generator().manual_seed(1))
    matrix = np.eye(4)
    matrix[1, 2] = 0.3
    grids = [GridMap(matrix, (6, 7, 8), ((0, 6), (0, 7), (0, 8)), (each,) * 3) for each in (1, order)]  # type: ignore[arg-type]
    one, other = (grid.sample(values, (0, 0, 0), whole(grid)) for grid in grids)
    assert torch.equal(one, other)
