"""Masks of slices as closed outlines, in which holes are joined to the outer line by a cut (a keyhole).

RTSTRUCT has no holes: a line inside another is a part of its own for many readers. Along a cut the line runs there
and back, so that it encloses nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Between 0 and 1 of a mask: outlines run halfway between voxels, so that they enclose exactly the centres of its own.
_BETWEEN = 0.5


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The outlines of the parts of a mask.

    Args:
        mask: X x Y of a slice.

    Returns:
        For each part: N x 2 places in voxels, where the centre of the first voxel is (0, 0). The line is closed by
        the way from the last place to the first.
    """
    if not mask.any():
        return []
    from contourpy import FillType, contour_generator

    padded = np.pad(mask, 1).astype(np.float64)
    generator = contour_generator(z=padded.T, fill_type=FillType.OuterOffset)  # contourpy wants rows, columns
    filled: Any = generator.filled(_BETWEEN, np.inf)  # its shape follows from the type of filling
    points, offsets = filled
    found = []
    for part, ends in zip(points, offsets, strict=True):
        lines = [part[start : end - 1] - 1 for start, end in pairwise(ends)]  # closed there
        found.append(_keyholed(lines[0], lines[1:]))
    return found


def _keyholed(outer: NDArray[np.float64], holes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """An outer line and its holes as one line; each hole is cut open where it is nearest to what is joined already."""
    from scipy.spatial import cKDTree

    while holes:
        tree = cKDTree(outer)
        nearest = [tree.query(hole) for hole in holes]
        chosen = int(np.argmin([distances.min() for distances, _ in nearest]))
        distances, places = nearest[chosen]
        hole = holes.pop(chosen)
        start = int(np.argmin(distances))
        at = int(places[start])
        around = np.concatenate([hole[start:], hole[: start + 1]])
        outer = np.concatenate([outer[: at + 1], around, outer[at:]])
    return outer
