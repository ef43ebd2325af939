"""The memory that reading and preparing a scan takes, from its header alone; no voxel is read."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from swin_unetr.config import PreprocessConfig, Triple
from transforms.geometry import Geometry
from transforms.grids import Grids
from transforms.linear import AT_ONCE, GridMap
from transforms.prepare import image_orders, resampling_slabs, source_grid
from transforms.steps import resampling_of

#: Bytes that buffers of files, statistics of intensities and libraries take besides the scan.
_BESIDE = 32 << 20
#: Bytes for each position that is calculated if grids are not parallel.
_POSITION = 72


def prepare_bytes(
    geometry: Geometry, channels: int, dtype: DTypeLike, config: PreprocessConfig, *, files: int = 1
) -> int:
    """Most memory that reading and preparing a scan takes.

    Args:
        geometry: of the file.
        channels: of the scan.
        dtype: as `transforms.io.read_header` gives it.
        config: spacing, intensity and crop.
        files: how many hold the channels; each is read while those before it are in memory.

    Returns:
        Bytes: the source as stored, the prepared scan as if nothing was cropped, and slabs between them.
    """
    grids = Grids.uncropped(geometry, config.spacing_mm)
    one = math.prod(geometry.shape) * np.dtype(dtype).itemsize
    source = channels * one
    reading = source + (2 * one if files > 1 else 0)
    preparing = source + 4 * channels * math.prod(grids.prepared_shape) + _slab_bytes(grids, config)
    return max(reading, preparing) + _BESIDE


def _slab_bytes(grids: Grids, config: PreprocessConfig) -> int:
    """The most that a slab takes on its way from the source to the prepared grid."""
    # The third axis of a file is the slowest in memory, in any orientation.
    slowest, middle, fastest = (grids.turn.axes.index(axis) for axis in (2, 1, 0))
    grid = source_grid(grids, (slowest, middle, fastest), image_orders(grids, resampling_of(config)))
    return max(_bytes_of(grid, first, last) for first, last in resampling_slabs(grid))


def _bytes_of(grid: GridMap, first: int, last: int) -> int:
    """Bytes to interpolate the planes [first, last) of the target, in float32."""
    _, one, two = grid.target_shape
    ranges = (range(first, last), range(one), range(two))
    sizes = [stop - start for start, stop in (grid.needed(axis, each) for axis, each in enumerate(ranges))]
    target: Triple = (last - first, one, two)
    source = math.prod(sizes)
    if not grid.parallel:
        planes = max(AT_ONCE // (one * two), 1)
        points = min(planes, last - first) * one * two
        return 4 * (source + math.prod(target) + 2 * points) + _POSITION * points
    most = 0
    for axis in range(3):  # input and output; along the last axis also the upper neighbours
        before = math.prod(sizes)
        sizes[axis] = target[axis]
        most = max(most, (before if axis else 0) + (2 if axis == 2 else 1) * math.prod(sizes))
    return 4 * (source + most)
