"""What a label file holds, value by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.survey.facts import ValueFacts
from transforms.geometry import Geometry
from transforms.values import are_whole

#: A file with more different values is no label map; nor is one with larger values.
MOST_VALUES, LARGEST_VALUE = 1000, 65535
#: How many odd values are quoted.
_QUOTED = 5


@dataclass(frozen=True, eq=False)
class Labels:
    """Label values of a file, and what in it is no label value.

    Attributes:
        array: X x Y x Z, 0 where the file has something else; None if it is no label map at all.
        values: facts by label value.
        not_finite, not_integer, negative: voxels of each kind.
        odd: a few such values; those that are too large too.
        different: how many different values there are, at most `MOST_VALUES` + 1.
    """

    array: NDArray[np.uint16] | None
    values: tuple[ValueFacts, ...]
    not_finite: int
    not_integer: int
    negative: int
    odd: tuple[float, ...]
    different: int


def read_values(stored: NDArray[Any], geometry: Geometry) -> Labels:
    """List the values of a label file.

    Args:
        stored: X x Y x Z as stored.
        geometry: of the file.
    """
    array = np.zeros(stored.shape, np.uint16, order="F")
    not_finite = not_integer = negative = too_large = 0
    odd: set[float] = set()
    for z in range(stored.shape[2]):
        plane = stored[..., z]
        if plane.dtype.kind == "f":
            finite = np.isfinite(plane)
            whole = finite & are_whole(plane)
            not_finite += int(np.count_nonzero(~finite))
            not_integer += int(np.count_nonzero(finite & ~whole))
        else:
            finite = whole = np.ones(plane.shape, bool)
        below, above = whole & (plane < 0), whole & (plane > LARGEST_VALUE)
        negative, too_large = negative + int(below.sum()), too_large + int(above.sum())
        if len(odd) < _QUOTED:
            odd.update(float(value) for value in np.unique(plane[(finite & ~whole) | below | above])[:_QUOTED])
        plane = np.rint(plane) if plane.dtype.kind == "f" else plane
        good = whole & ~below & ~above
        array[..., z] = np.where(good, plane, 0)
    counts = np.bincount(array.reshape(-1, order="F"))
    different = int(np.count_nonzero(counts))
    facts = {"not_finite": not_finite, "not_integer": not_integer, "negative": negative}
    quoted = tuple(sorted(odd)[:_QUOTED])
    if too_large or different > MOST_VALUES or not_integer > array.size // 100 + 10 * different:
        return Labels(None, (), **facts, odd=quoted, different=MOST_VALUES + 1)
    return Labels(array, _values(array, counts, geometry), **facts, odd=quoted, different=different)


def _values(array: NDArray[np.uint16], counts: NDArray[Any], geometry: Geometry) -> tuple[ValueFacts, ...]:
    from scipy.ndimage import find_objects

    boxes = find_objects(array)
    voxel_mm3 = abs(float(np.linalg.det(geometry.affine[:3, :3])))
    return tuple(
        ValueFacts(
            value=int(value),
            voxels=int(counts[value]),
            volume_mm3=float(f"{int(counts[value]) * voxel_mm3:.7g}"),
            box=_box(boxes[value - 1]),
            centre_mm=_centre(array, int(value), boxes[value - 1], geometry),
        )
        for value in np.flatnonzero(counts)
        if value
    )


def _box(slices: tuple[slice, ...]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    x, y, z = ((int(part.start), int(part.stop)) for part in slices)
    return x, y, z


def _centre(
    array: NDArray[np.uint16], value: int, box: tuple[slice, ...], geometry: Geometry
) -> tuple[float, float, float]:
    inside = array[box] == value
    total = inside.sum()
    at = [
        float(np.dot(inside.sum(axis=tuple(other for other in range(3) if other != axis)), np.arange(length)) / total)
        for axis, length in enumerate(inside.shape)
    ]
    corner = [float(part.start) for part in box]
    x, y, z = geometry.affine[:3, :3] @ np.add(at, corner) + geometry.affine[:3, 3]
    return round(float(x), 3), round(float(y), 3), round(float(z), 3)
