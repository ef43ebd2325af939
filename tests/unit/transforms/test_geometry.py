"""Grids: voxel size, directions of the axes, and how two of them differ. nibabel is the oracle."""

from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from swin_unetr.errors import GeometryError
from transforms.geometry import TOLERANCE_MM, Geometry, require_same_geometry

SHAPE = (20, 30, 10)


def affine_of(spacing: tuple[float, float, float] = (1.0, 2.0, 3.0), degrees: float = 0.0) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = (-10.0, 20.0, 5.0)
    return affine


@pytest.mark.parametrize("seed", range(60))
def test_spacing_and_letters_are_those_of_nibabel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = rng.permutation(np.eye(3)) * rng.choice([-1, 1], 3)
    turned = Rotation.random(random_state=seed).as_matrix() if seed % 2 else axes
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.diag(rng.uniform(0.3, 6, 3))
    if seed % 3 == 0:
        affine[:3, :3] += rng.uniform(-0.1, 0.1, (3, 3))  # sheared, as a tilted gantry makes it
    geometry = Geometry(SHAPE, affine)
    assert geometry.orientation == "".join(aff2axcodes(affine))
    np.testing.assert_allclose(geometry.spacing_mm, voxel_sizes(affine), rtol=1e-12)


def test_grids_that_differ_by_rounding_are_one() -> None:
    one = Geometry(SHAPE, affine_of(degrees=7))
    other = Geometry(SHAPE, affine_of(degrees=7).astype(np.float32).astype(np.float64))
    assert one.difference(one) is None
    assert one.difference(other) is None


@pytest.mark.parametrize(("shift", "same"), [(TOLERANCE_MM * 0.99, True), (TOLERANCE_MM * 1.01, False)])
def test_the_tolerance_is_a_distance_in_millimetres(shift: float, same: bool) -> None:
    moved = affine_of()
    moved[1, 3] += shift
    assert (Geometry(SHAPE, affine_of()).difference(Geometry(SHAPE, moved)) is None) is same


def test_a_spacing_that_adds_up_over_the_grid_is_a_difference() -> None:
    # 0.01 mm a voxel is less than the tolerance, but 29 voxels of it are not.
    one, other = Geometry(SHAPE, affine_of()), Geometry(SHAPE, affine_of((1.0, 2.01, 3.0)))
    assert one.difference(other) == "spacing 1x2x3 and 1x2.01x3 mm"


def test_differences_in_words() -> None:
    one = Geometry(SHAPE, affine_of())
    flipped, moved, turned = affine_of(), affine_of(), affine_of(degrees=5)
    flipped[:3, 0] *= -1
    moved[:3, 3] += (3, 4, 0)
    assert one.difference(Geometry((20, 30, 11), affine_of())) == "shape 20x30x10 and 20x30x11"
    assert one.difference(Geometry(SHAPE, flipped)) == "orientation RAS and LAS"
    assert one.difference(Geometry(SHAPE, affine_of((1, 2, 2.5)))) == "spacing 1x2x3 and 1x2x2.5 mm"
    assert one.difference(Geometry(SHAPE, moved)) == "position: origins 5 mm apart, corners up to 5 mm"
    difference = one.difference(Geometry(SHAPE, turned))
    assert difference is not None
    assert difference.startswith("position: origins 0 mm apart, corners up to 5.")


def test_a_geometry_that_is_not_the_other_names_both_files() -> None:
    one, other = Geometry(SHAPE, affine_of()), Geometry((1, 1, 1), affine_of())
    require_same_geometry(Path("a.nii"), one, Path("b.nii"), Geometry(SHAPE, affine_of()))
    with pytest.raises(GeometryError, match=r"^a\.nii: .* b\.nii \(shape 20x30x10 and 1x1x1\); resample") as caught:
        require_same_geometry(Path("a.nii"), one, Path("b.nii"), other)
    assert caught.value.exit_code == 1
