"""Label maps on another grid, for predictions that do not lie on the grid of the reference."""

from __future__ import annotations

import math

import numpy as np

from swin_unetr.errors import GeometryError
from transforms.geometry import Geometry, Volume

#: Points half-way between two voxels all go to the same side, although rounding moves some of them to the other.
_SLACK = 1e-6
#: Voxels that a grid may grow to: more than a whole body has at half a millimetre in plane.
MOST_VOXELS = 2**30


def labels_on_grid(labels: Volume, grid: Geometry) -> Volume:
    """A label map on another grid: every voxel takes the value of the nearest voxel; outside the map it is 0.

    A point half-way between two voxels takes the one with the higher index.

    Args:
        labels: label values 1 x X x Y x Z as stored.
        grid: the other grid.

    Returns:
        The same type, 1 x the shape of `grid`.
    """
    source = labels.array[0]
    to_source = np.linalg.inv(labels.geometry.affine) @ grid.affine
    array = np.zeros(grid.shape, source.dtype, order="F")
    # Each stored index is a sum of three terms, one per axis of the new grid; slice by slice, to need little memory.
    terms = [to_source[:3, axis, None] * np.arange(size) for axis, size in enumerate(grid.shape)]
    plane = terms[0][:, :, None] + terms[1][:, None, :] + to_source[:3, 3, None, None] + 0.5 + _SLACK
    shape = np.array(source.shape)[:, None, None]
    for index in range(grid.shape[2]):
        nearest = np.floor(plane + terms[2][:, index, None, None]).astype(np.int64)
        inside = ((nearest >= 0) & (nearest < shape)).all(axis=0)
        array[:, :, index][inside] = source[tuple(nearest[:, inside])]
    return Volume(array[None], grid)


def covering_grid(labels: Volume, grid: Geometry) -> Geometry:
    """A grid, made larger by whole voxels, if necessary, until it holds all voxels of a label map that are not 0.

    Args:
        labels: label values 1 x X x Y x Z as stored.
        grid: to make larger.

    Raises:
        GeometryError: it would have more than `MOST_VOXELS`.
    """
    sides = [
        np.flatnonzero(labels.array[0].any(axis=tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    ]
    if not sides[0].size:
        return grid
    edges = [(side[0] - 0.5, side[-1] + 0.5) for side in sides]
    corners = np.array([[edges[axis][end] for axis, end in enumerate(ends)] for ends in np.ndindex(2, 2, 2)])
    to_grid = np.linalg.inv(grid.affine) @ labels.geometry.affine
    reached = corners @ to_grid[:3, :3].T + to_grid[:3, 3]
    # The voxels of the grid whose centres lie between the outermost edges of the labels.
    first = np.ceil(reached.min(axis=0) - 2 * _SLACK).astype(int)
    last = np.floor(reached.max(axis=0) + 2 * _SLACK).astype(int)
    before, after = np.maximum(-first, 0), np.maximum(last + 1 - np.array(grid.shape), 0)
    if not before.any() and not after.any():
        return grid
    shape = np.array(grid.shape) + before + after
    if math.prod(shape.tolist()) > MOST_VOXELS:
        size = "x".join(map(str, shape.tolist()))
        raise GeometryError(
            f"a grid for both would have {size} voxels; the two files do not show the same part of a patient"
        )
    affine = grid.affine.copy()
    affine[:3, 3] -= grid.affine[:3, :3] @ before
    x, y, z = (int(size) for size in shape)
    return Geometry((x, y, z), affine)


def is_part_of(part: Geometry, grid: Geometry) -> bool:
    """Whether a grid holds all voxels of another one, as `covering_grid` makes it."""
    offset = np.linalg.inv(grid.affine) @ part.affine
    start = np.rint(offset[:3, 3])
    shifted = np.allclose(offset[:3, :3], np.eye(3), atol=1e-3) and np.allclose(offset[:3, 3], start, atol=0.05)
    return bool(shifted and (start >= 0).all() and (start + part.shape <= grid.shape).all())


def padded(volume: Volume, grid: Geometry) -> Volume:
    """A volume on a grid that `covering_grid` has made from its own: 0 outside the volume."""
    offset = np.rint(np.linalg.inv(grid.affine) @ volume.geometry.affine)[:3, 3].astype(int)
    array = np.zeros((len(volume.array), *grid.shape), volume.array.dtype, order="F")
    inside = [slice(start, start + size) for start, size in zip(offset, volume.geometry.shape, strict=True)]
    place = (slice(None), *inside)
    array[place] = volume.array
    return Volume(array, grid)


def voxels_outside(labels: Volume, grid: Geometry) -> int:
    """How many voxels of a label map, other than 0, have their centres outside a grid.

    Args:
        labels: label values 1 x X x Y x Z as stored.
        grid: the other grid.
    """
    to_grid = np.linalg.inv(grid.affine) @ labels.geometry.affine
    outside = 0
    for plane, values in enumerate(np.moveaxis(labels.array[0], 2, 0)):  # plane by plane, to need little memory
        voxels = np.argwhere(values)
        index = voxels @ to_grid[:3, :2].T + plane * to_grid[:3, 2] + to_grid[:3, 3]
        inside = (index >= -0.5 - _SLACK) & (index <= np.array(grid.shape) - 0.5 + _SLACK)
        outside += int((~inside.all(axis=1)).sum())
    return outside
