"""Label maps on another grid: by hand and against ITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.errors import GeometryError
from transforms.geometry import Geometry, Volume
from transforms.resample import covering_grid, is_part_of, labels_on_grid, padded, voxels_outside


def volume(array, affine):
    return Volume(np.asarray(array)[None], Geometry(np.asarray(array).shape, np.asarray(affine, float)))


def test_the_same_grid_changes_nothing():
    labels = volume(np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.uint8), np.diag([1, 2, 3, 1]))
    same = labels_on_grid(labels, labels.geometry)
    assert same.array.dtype == np.uint8
    assert np.array_equal(same.array, labels.array)


def test_a_finer_grid_repeats_voxels_and_outside_there_is_nothing():
    # Voxels of 2 mm at 0 and 2; on the finer grid from -2 to 4 mm they reach from -1 to 3.
    labels = volume(np.array([1, 2], np.uint8).reshape(2, 1, 1), np.diag([2.0, 1, 1, 1]))
    affine = np.eye(4)
    affine[0, 3] = -2
    found = labels_on_grid(labels, Geometry((7, 1, 1), affine)).array[0, :, 0, 0]
    # -1, 1 and 3 mm are half-way: the higher index takes them, and beyond the last there is nothing.
    assert found.tolist() == [0, 1, 1, 2, 2, 0, 0]


def test_what_lies_outside_is_told():
    labels = volume(np.array([0, 1, 1, 1, 2], np.uint8).reshape(5, 1, 1), np.eye(4))
    assert voxels_outside(labels, labels.geometry) == 0
    assert voxels_outside(labels, Geometry((4, 1, 1), np.eye(4))) == 1
    # Voxels of 2 mm at 0 and 2 reach from -1 to 3 mm: the voxel at 3 lies on the edge, and inside.
    assert voxels_outside(labels, Geometry((2, 1, 1), np.diag([2.0, 1, 1, 1]))) == 1
    assert voxels_outside(volume(np.zeros((5, 1, 1), np.uint8), np.eye(4)), labels.geometry) == 0


def test_a_grid_grows_to_hold_all_labels_and_not_a_voxel_more():
    array = np.zeros((9, 9, 9), np.uint8)
    array[1:8, 4, 4] = 1
    labels = volume(array, np.eye(4))
    small = np.eye(4)
    small[:3, 3] = 3
    grid = covering_grid(labels, Geometry((3, 3, 3), small))
    assert grid.shape == (7, 3, 3)
    assert grid.affine[:3, 3].tolist() == [1, 3, 3]
    assert int(labels_on_grid(labels, grid).array.sum()) == 7
    known = volume(np.full((3, 3, 3), 5, np.uint8), small)
    grown = padded(known, grid)
    assert is_part_of(known.geometry, grid)
    assert not is_part_of(grid, known.geometry)
    assert not is_part_of(Geometry((2, 2, 2), np.diag([2.0, 2, 2, 1])), grid)
    assert (grown.array[0, 2:5] == 5).all()
    assert int((grown.array == 5).sum()) == 27
    # What is inside already, or empty, changes nothing.
    whole = Geometry((9, 9, 9), np.eye(4))
    assert covering_grid(labels, whole) is whole
    assert covering_grid(volume(np.zeros((9, 9, 9), np.uint8), np.eye(4)), known.geometry) is known.geometry
    with pytest.raises(GeometryError, match="do not show the same part"):
        covering_grid(volume(array, np.diag([1e4, 1e4, 1e4, 1.0])), whole)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.floats(0.4, 3), st.floats(-12, 12), st.booleans(), st.floats(-0.5, 0.5))
def test_no_label_is_lost_on_a_covering_grid(seed, spacing, shift, flipped, angle):
    """As many millilitres as there were, as far as the voxels are not coarser than what is labelled."""
    generator = np.random.default_rng(seed)
    array = np.zeros((12, 11, 10), np.uint8)
    start = generator.integers(0, 4, 3)
    array[tuple(slice(at, at + 6) for at in start)] = 1
    turn = np.eye(4)
    turn[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    affine = turn @ np.diag([-1.0 if flipped else 1.0, 1, 1, 1])
    affine[:3, 3] = shift
    labels = volume(array, affine)
    grid = covering_grid(labels, Geometry((5, 5, 5), np.diag([spacing, spacing, spacing, 1])))
    found = labels_on_grid(labels, grid).array[0]
    larger = grid.affine.copy()
    larger[:3, 3] -= 3 * spacing
    margin = Geometry(tuple(size + 6 for size in grid.shape), larger)
    assert int(found.sum()) == int(labels_on_grid(labels, margin).array.sum())


def test_flipped_axes_lie_where_they_lay():
    array = np.random.default_rng(1).integers(0, 9, (5, 6, 7)).astype(np.int16)
    affine = np.diag([1.5, 1, 2, 1])
    flipped = affine.copy()
    flipped[0, 0], flipped[0, 3] = -1.5, 1.5 * 4
    found = labels_on_grid(volume(array[::-1], flipped), Geometry(array.shape, affine))
    assert np.array_equal(found.array[0], array)


@pytest.mark.parametrize("seed", range(3))
def test_equals_itk_on_oblique_grids(seed):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 200, (17, 13, 11)).astype(np.uint8)

    def affine(angle, spacing, origin):
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn * spacing, origin
        return matrix

    source, grid = affine(0.1, (1, 1.2, 2.5), (3, -4, 5)), affine(-0.2, (0.8, 1.7, 1.9), (1.1, -6.3, 2.2))
    images = []
    for matrix, data in ((source, array), (grid, np.zeros((20, 15, 14), np.uint8))):
        image = sitk.GetImageFromArray(data.transpose(2, 1, 0))
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(matrix[:3, 3].tolist())
        images.append(image)
    expected = sitk.GetArrayFromImage(sitk.Resample(images[0], images[1], sitk.Transform(), sitk.sitkNearestNeighbor))
    found = labels_on_grid(volume(array, source), Geometry((20, 15, 14), grid)).array[0]
    assert np.count_nonzero(found) > 500
    assert np.array_equal(found, expected.transpose(2, 1, 0))
