"""Voxel sizes, against cases worked out by hand."""

import math

import pytest

from swin_unetr.planning.grid import Grid, coarser_grid, target_grid


def test_the_median_of_each_axis() -> None:
    spacings = [(1.0, 1.0, 2.0), (0.8, 1.2, 2.5), (0.9, 0.9, 1.5)]
    grid = target_grid(spacings, [(100, 100, 90)] * 3)
    assert grid.spacing_mm == (0.9, 1.0, 2.0)
    assert grid.reason == "median of 3 scans"


def test_one_coarse_axis_with_few_voxels_takes_the_tenth_percentile() -> None:
    # ACDC's problem: 10 mm in the median, though some scans have 5 mm. Percentile 10 of 5, 10, ..., 10 (11 values) is
    # the second smallest.
    spacings = [(1.5, 1.5, 5.0), (1.5, 1.5, 6.0), *[(1.5, 1.5, 10.0)] * 9]
    grid = target_grid(spacings, [(200, 200, 12)] * 11)
    assert grid.spacing_mm == (1.5, 1.5, 6.0)
    assert "10th percentile" in grid.reason
    assert "along Z" in grid.reason


@pytest.mark.parametrize(
    ("spacings", "shape"),
    [
        pytest.param([(1.5, 1.5, 4.5)] * 5, (200, 200, 12), id="not more than three times as coarse"),
        pytest.param([(1.0, 1.0, 4.0)] * 5, (200, 200, 70), id="more than a third of the voxels"),
    ],
)
def test_otherwise_a_coarse_axis_takes_the_median(spacings, shape) -> None:
    assert target_grid(spacings, [shape] * 5).spacing_mm == spacings[0]


def test_the_coarse_axis_gets_no_finer_than_the_others() -> None:
    spacings = [(1.0, 1.0, 0.5), (1.0, 1.0, 0.5), *[(1.0, 1.0, 8.0)] * 8]
    assert target_grid(spacings, [(200, 200, 12)] * 10).spacing_mm == (1.0, 1.0, 1.0)


def test_rounding_in_headers_is_no_voxel_size() -> None:
    assert target_grid([(0.99999994, 1.0, 1.0000001)], [(9, 9, 9)]).spacing_mm == (1.0, 1.0, 1.0)


def test_a_large_scan_is_coarsened_until_a_crop_sees_a_sixteenth() -> None:
    # 512 x 512 x 400 voxels of 0.8 x 0.8 x 1.5 mm: a crop of 128 cubed sees 2 %, so that voxels grow 3.125 times, to 3
    # cubic millimetres: the cube root of 3 is less than 1.5, and 3 / 1.5 is 2: 1.414 mm along X and Y.
    grid = coarser_grid(Grid((0.8, 0.8, 1.5), "median"), (512, 512, 400), 128**3, smallest_mm3=0)
    assert grid is not None
    assert grid.spacing_mm == (1.414, 1.414, 1.5)
    assert "2.0%" in grid.reason


def test_from_isotropic_on_all_axes_grow() -> None:
    grid = coarser_grid(Grid((1.0, 1.0, 1.0), "median"), (512, 512, 512), 64**3, smallest_mm3=0)
    assert grid is not None
    assert grid.spacing_mm == (2.0, 2.0, 2.0)  # eight times the volume is the most


def test_a_small_structure_keeps_its_voxels() -> None:
    grid = Grid((1.0, 1.0, 1.0), "median")
    coarse = coarser_grid(grid, (512, 512, 512), 64**3, smallest_mm3=3375)
    assert coarse is not None
    assert coarse.spacing_mm == (1.5, 1.5, 1.5)
    assert 3375 / math.prod(coarse.spacing_mm) == 1000
    assert coarser_grid(grid, (512, 512, 512), 64**3, smallest_mm3=400) is None


def test_a_crop_that_sees_enough_leaves_the_grid() -> None:
    assert coarser_grid(Grid((1.0, 1.0, 1.0), "median"), (160, 160, 160), 96**3, smallest_mm3=0) is None
