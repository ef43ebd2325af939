"""What a label file holds, value by value, and what in it is no label."""

from __future__ import annotations

import numpy as np
import pytest

from swin_unetr.survey.labels import LARGEST_VALUE, MOST_VALUES, read_values
from transforms.geometry import Geometry

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 0, 3, 20], [0, 4, 0, 30], [0, 0, 0, 1]])


def grid(shape: tuple[int, int, int]) -> Geometry:
    return Geometry(shape, AFFINE)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", ">u2"])
def test_volumes_boxes_and_centres(dtype: str) -> None:
    array = np.zeros((8, 7, 6), dtype)
    array[1:3, 2:6, 4] = 3
    array[5, 5, 5] = 9
    found = read_values(array, grid(array.shape))
    assert found.array is not None
    np.testing.assert_array_equal(found.array, array)
    three, nine = found.values
    assert (three.value, three.voxels, three.volume_mm3) == (3, 8, 8 * 24)
    assert three.box == ((1, 3), (2, 6), (4, 5))
    assert three.centre_mm == tuple((AFFINE @ (1.5, 3.5, 4, 1))[:3])
    assert (nine.value, nine.voxels, nine.centre_mm) == (9, 1, tuple((AFFINE @ (5, 5, 5, 1))[:3]))
    assert (found.different, found.odd) == (3, ())


def test_what_is_no_label_is_counted_and_becomes_background() -> None:
    array = np.zeros((30, 30, 4), np.float32)
    array[:10] = 2
    array[0, 0] = (np.nan, np.inf, -1, 0.5)
    found = read_values(array, grid(array.shape))
    assert (found.not_finite, found.not_integer, found.negative) == (2, 1, 1)
    assert found.odd == (-1, 0.5)
    assert found.array is not None
    assert found.array[0, 0].tolist() == [0, 0, 0, 0]
    assert [of.voxels for of in found.values] == [10 * 30 * 4 - 4]


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).normal(0, 1, (9, 9, 9)).astype(np.float32),
        np.arange(MOST_VALUES + 100, dtype=np.uint16).reshape(-1, 10, 1),
        np.full((3, 3, 3), LARGEST_VALUE + 1, np.int32),
    ],
    ids=["a scan", "too many values", "too large a value"],
)
def test_what_is_no_label_map(array: np.ndarray) -> None:
    found = read_values(array, grid(array.shape))  # type: ignore[arg-type]
    assert found.array is None
    assert found.values == ()
    assert found.different == MOST_VALUES + 1


def test_an_empty_label_map() -> None:
    found = read_values(np.zeros((3, 3, 3), np.uint8), grid((3, 3, 3)))
    assert found.values == ()
    assert found.different == 1
