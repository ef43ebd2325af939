"""Label maps on another grid, for what was predicted on a grid of its own."""

from __future__ import annotations

import numpy as np

from transforms.geometry import Geometry, Volume

#: Points half-way between two voxels all go the same way, although rounding puts some of them on either side.
_SLACK = 1e-6


def labels_on_grid(labels: Volume, grid: Geometry) -> Volume:
    """A label map on another grid: every voxel takes the value of the nearest voxel; outside the map it is 0.

    A point half-way between two voxels takes the one with the higher index.

    Args:
        labels: label values 1 x X x Y x Z as stored.
        grid: where they are wanted.

    Returns:
        The same type, 1 x the shape of `grid`.
    """
    source = labels.array[0]
    to_source = np.linalg.inv(labels.geometry.affine) @ grid.affine
    array = np.zeros(grid.shape, source.dtype, order="F")
    # Each stored index is a sum of three terms, one per axis of the new grid; slice by slice, it fits anywhere.
    terms = [to_source[:3, axis, None] * np.arange(size) for axis, size in enumerate(grid.shape)]
    plane = terms[0][:, :, None] + terms[1][:, None, :] + to_source[:3, 3, None, None] + 0.5 + _SLACK
    shape = np.array(source.shape)[:, None, None]
    for index in range(grid.shape[2]):
        nearest = np.floor(plane + terms[2][:, index, None, None]).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < shape)).all(axis=0)
        array[:, :, index][inside] = source[tuple(nearest[:, inside])]
    return Volume(array[None], grid)


def share_outside(labels: Volume, grid: Geometry) -> float:
    """Share of a label map's voxels other than 0 whose centres lie outside a grid, which it loses there; 0..1.

    Args:
        labels: label values 1 x X x Y x Z as stored.
        grid: where they are wanted.
    """
    voxels = np.argwhere(labels.array[0])
    if not len(voxels):
        return 0.0
    to_grid = np.linalg.inv(grid.affine) @ labels.geometry.affine
    index = voxels @ to_grid[:3, :3].T + to_grid[:3, 3]
    inside = ((index >= -0.5 - _SLACK) & (index <= np.array(grid.shape) - 0.5 + _SLACK)).all(axis=1)
    return float(1 - inside.mean())
