"""Whether labels lie where they belong, on made scans whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from swin_unetr.survey.alignment import alignment_of
from transforms.geometry import Geometry

SHAPE = (40, 36, 24)


def scan_with_organs() -> tuple[np.ndarray, np.ndarray]:
    """A body in air, with two organs of their own values, one on each side, unlike in size and place."""
    x, y, z = np.meshgrid(*(np.arange(size, dtype=float) for size in SHAPE), indexing="ij")
    body = ((x - 19.5) / 17) ** 2 + ((y - 17.5) / 15) ** 2 < 1
    labels = np.zeros(SHAPE, np.uint16)
    labels[((x - 12) / 6) ** 2 + ((y - 15) / 7) ** 2 + ((z - 9) / 6) ** 2 < 1] = 1
    labels[((x - 28) / 4) ** 2 + ((y - 22) / 4) ** 2 + ((z - 14) / 5) ** 2 < 1] = 2
    noise = np.random.default_rng(0).normal(0, 4, SHAPE)
    values = np.where(body, 0.0, -1000.0) + np.where(labels == 1, 120, 0) + np.where(labels == 2, 240, 0) + noise
    return values.astype(np.float32), labels


def test_labels_in_their_place_belong_better_than_any_mirror_image() -> None:
    scan, labels = scan_with_organs()
    found = alignment_of(scan, labels, Geometry(SHAPE, np.diag([2.0, 2, 3, 1])), np.random.default_rng(0))
    assert found is not None
    assert found.belonging > max(found.mirrored) + 0.4
    assert found.outside_body == 0
    assert found.body_centre_mm == pytest.approx((39, 35, 34.5), abs=1)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("code", ["RAS", "LPS", "PIL"])
def test_the_mirrored_axis_is_told_in_the_directions_of_the_patient(axis: int, code: str) -> None:
    """However the file stores its axes: `mirrored` is R-L, A-P, I-S."""
    scan, labels = scan_with_organs()
    at = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, letter in enumerate(code):
        world, sign = at[letter]
        affine[world, column] = 2.0 * sign
    geometry = Geometry(SHAPE, affine)
    found = alignment_of(scan, np.flip(labels, axis), geometry, np.random.default_rng(0))
    assert found is not None
    assert int(np.argmax(found.mirrored)) == at[code[axis]][0]
    assert max(found.mirrored) > found.belonging + 0.4


def test_labels_in_the_air() -> None:
    scan, labels = scan_with_organs()
    away = np.zeros_like(labels)
    away[0:6, 0:6, 4:20] = 1
    found = alignment_of(scan, away, Geometry(SHAPE, np.eye(4)), np.random.default_rng(0))
    assert found is not None
    assert found.outside_body is not None
    assert found.outside_body > 0.9


def test_a_crop_shows_no_air_around_the_body() -> None:
    scan, labels = scan_with_organs()
    part = slice(8, 34), slice(8, 28), slice(2, 22)
    found = alignment_of(scan[part], labels[part], Geometry((26, 20, 20), np.eye(4)), np.random.default_rng(0))
    assert found is not None
    assert found.outside_body is None
    assert found.body_centre_mm == (12.5, 9.5, 9.5)  # of the grid


@pytest.mark.parametrize("labelled", [0, 10])
def test_too_few_labelled_voxels_tell_nothing(labelled: int) -> None:
    scan, labels = scan_with_organs()
    few = np.zeros_like(labels)
    few[10, 10, 1 : 1 + labelled] = 1
    assert alignment_of(scan, few, Geometry(SHAPE, np.eye(4)), np.random.default_rng(0)) is None
