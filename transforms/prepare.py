"""Preprocess a scan in memory for prediction: as in training, without copies of the whole scan.

The steps (`transforms.steps`) are those of training, and `transforms.preprocess` is the reference. There, every step
makes a new array of the scan, in float32 or float64; here the source stays as it is stored, and slabs of it go through
all steps at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.config import PreprocessConfig, Triple
from transforms.geometry import Geometry, Volume
from transforms.grids import Grids, Turn
from transforms.linear import Box, GridMap
from transforms.steps import ROUNDING, CropForeground, Intensity, Resample, Standardize, Window, ZScore, steps_of

#: Bytes of the source (as float32) that go through all steps at once: small enough for a cache that is shared.
_SLAB = 16 << 20


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan on the network's grid, and the way back.

    Attributes:
        image: channels x X x Y x Z, float32, RAS, on the CPU.
        geometry: of the source.
        grids: to the source's grid.
    """

    image: Tensor
    geometry: Geometry
    grids: Grids


def prepare(volume: Volume, config: PreprocessConfig, channels: Sequence[str] | None = None) -> Prepared:
    """Turn, crop, resample and normalise a scan.

    Args:
        volume: channels x X x Y x Z as stored, of any type of numbers; left as it is.
        config: spacing, intensity and crop.
        channels: their names. If None, they are called by their numbers from 0.

    Returns:
        The same as `transforms.preprocess.preprocess_volume` up to rounding (1e-5 of the range).

    Raises:
        ConfigError: an intensity of a channel that is not there.
        DataError: another number of names than of channels.
    """
    steps = steps_of(config, len(volume.array), channels)
    turn = Turn.to_ras(volume.geometry)
    array, whole = turn.view(volume.array), _box(turn.shape)
    crop = None if steps.crop is None else _foreground(array, steps.crop)
    grids = Grids.of(turn, crop or whole, None if steps.resample is None else steps.resample.spacing_mm)
    image = _resample(array, grids, steps.intensity.channels, image_orders(grids, steps.resample))
    for channel, intensity in zip(image, steps.intensity.channels, strict=True):
        if isinstance(intensity, ZScore):
            _z_score(channel, nonzero=intensity.nonzero)
    return Prepared(image, volume.geometry, grids)


def _foreground(array: NDArray[Any], step: CropForeground) -> Box | None:
    """Box of what any channel shows. None if no channel shows anything."""
    order = _memory_order(array)
    ordered = array.transpose(0, *(axis + 1 for axis in order))
    bounds = [_bound(of, array.dtype) for of in step.bounds]
    if -math.inf in bounds:
        return _box(array.shape[1:])
    slowest = np.zeros(ordered.shape[1], bool)
    plane = np.zeros(ordered.shape[2:], bool)
    for start, stop in _slabs(ordered):
        shown = np.zeros((stop - start, *plane.shape), bool)
        for channel, bound in zip(ordered, bounds, strict=True):
            part = channel[start:stop]
            if bound != math.inf:
                shown |= part != 0 if bound is None else part > bound
        slowest[start:stop] = shown.any(axis=(1, 2))
        plane |= shown.any(axis=0)
    if not plane.any():
        return None
    found = [slowest, plane.any(axis=1), plane.any(axis=0)]
    ends = [np.flatnonzero(found[order.index(axis)])[[0, -1]] for axis in range(3)]
    x, y, z = ((int(first), int(last) + 1) for first, last in ends)
    return x, y, z


def _bound(bound: float | None, dtype: np.dtype[Any]) -> float | None:
    """The same bound for values of a type; infinite if all values exceed it, or no value does."""
    if bound is None or dtype.kind not in "iu":
        return bound
    bound = math.floor(bound)  # whole numbers exceed both alike, and are compared with whole numbers
    limits = np.iinfo(dtype)
    if limits.min <= bound <= limits.max:
        return bound
    return -math.inf if bound < limits.min else math.inf


def image_orders(grids: Grids, step: Resample | None) -> Triple:
    """Order of the interpolation along each RAS axis (`transforms.linear.GridMap`)."""
    return (1, 1, 1) if step is None else step.image_orders(grids.native_mm)


def _resample(
    array: NDArray[Any], grids: Grids, intensities: Sequence[Intensity], orders: Triple = (1, 1, 1)
) -> Tensor:
    """The source (channels x turned grid) on the prepared grid, slab by slab; windows are scaled on the way.

    Slabs are cut along the axis that is slowest in the source's memory, and axes are interpolated from that one to
    the fastest: a network's grid is mostly coarser than a scanner's, so that each step leaves less for the next.
    """
    order = _memory_order(array)
    ordered = array.transpose(0, *(axis + 1 for axis in order))
    grid = source_grid(grids, order, orders)
    image = torch.empty((len(array), *grids.prepared_shape))
    target = image.permute(0, *(axis + 1 for axis in order))
    others = [grid.needed(axis, range(grid.target_shape[axis])) for axis in (1, 2)]
    for first, last in resampling_slabs(grid):
        rows = [grid.needed(0, range(first, last)), *others]
        part = tuple(slice(*ends) for ends in rows)
        start = (rows[0][0], rows[1][0], rows[2][0])
        box = ((first, last), (0, grid.target_shape[1]), (0, grid.target_shape[2]))
        for channel, intensity in enumerate(intensities):
            # Always a copy: torch takes no views with negative strides and no read-only memory maps.
            block = torch.from_numpy(np.array(ordered[channel][part], np.float32, order="C"))
            slab = grid.sample(block[None], start, box, order=(0, 1, 2))[0]
            if isinstance(intensity, Window):
                slab = slab.sub_(intensity.low).div_(intensity.high - intensity.low).clamp_(0, 1)
            elif isinstance(intensity, Standardize):
                slab = slab.clamp_(intensity.low, intensity.high).sub_(intensity.mean).div_(intensity.std)
            target[channel, first:last] = slab
    return image


def resampling_slabs(grid: GridMap) -> Iterator[tuple[int, int]]:
    """Planes [first, last) of the target grid that are made at once, from a slab of the source.

    Args:
        grid: from the prepared grid to the source, axes from the slowest in the source's memory to the fastest.
    """
    per_plane = 4 * math.prod(
        stop - start for start, stop in (grid.needed(axis, range(grid.target_shape[axis])) for axis in (1, 2))
    )
    ratio = max(abs(grid.matrix[0, 0]), 1e-3)
    planes = max(int(_SLAB / per_plane / ratio), 1)
    for first in range(0, grid.target_shape[0], planes):
        yield first, min(first + planes, grid.target_shape[0])


def source_grid(grids: Grids, order: Triple, orders: Triple = (1, 1, 1)) -> GridMap:
    """Where the voxels of the prepared grid lie in the source, turned to RAS; its axes in another order.

    Args:
        grids: of the scan.
        order: the RAS axes, as those of the result.
        orders: of the interpolation along each RAS axis.
    """
    x, y, z = order
    to_source = _prepared_to_turned(grids)[np.ix_([x, y, z, 3], [x, y, z, 3])]
    shape, crop = grids.prepared_shape, grids.crop
    bounds = (crop[x], crop[y], crop[z])
    return GridMap(to_source, (shape[x], shape[y], shape[z]), bounds, (orders[x], orders[y], orders[z]))


def _prepared_to_turned(grids: Grids) -> NDArray[np.float64]:
    """4x4, prepared index to index in the turned, uncropped grid."""
    matrix: NDArray[np.float64] = np.eye(4)
    if grids.resampled:
        matrix = np.asarray(np.linalg.solve(grids.native_affine, grids.prepared_affine), np.float64)
    matrix[:3, 3] += [start for start, _ in grids.crop]
    return matrix


def _z_score(channel: Tensor, *, nonzero: bool) -> None:
    """Zero mean and unit deviation in place, of all voxels or of those that are not 0; sums in float64, by planes."""
    flat = channel.view(-1)
    parts = torch.split(flat, 1 << 20)
    if nonzero:
        largest = max(float(part.abs().max()) for part in parts)
        for part in parts:
            part[part.abs() <= ROUNDING * largest] = 0.0
    count = sum(int(torch.count_nonzero(part)) for part in parts) if nonzero else flat.numel()
    if not count:
        return
    mean = sum(float(part.sum(dtype=torch.float64)) for part in parts) / count
    squares = 0.0
    for part in parts:
        away = part.double().sub_(mean).square_()
        squares += float((away[part != 0] if nonzero else away).sum())
    deviation = math.sqrt(squares / count)
    # Once it is resampled, a constant channel varies by rounding errors, which must not be scaled to unit size.
    divisor = deviation if deviation > ROUNDING * abs(mean) else 1.0
    for part in parts:
        scaled = (part - mean) / divisor
        part.copy_(torch.where(part != 0, scaled, 0.0) if nonzero else scaled)


def _memory_order(array: NDArray[Any]) -> Triple:
    """The three spatial axes of channels x X x Y x Z from the slowest in memory to the fastest."""
    x, y, z = sorted(range(3), key=lambda axis: -abs(array.strides[axis + 1]))
    return x, y, z


def _slabs(array: NDArray[Any]) -> list[tuple[int, int]]:
    """Ranges of the first spatial axis of channels x X x Y x Z that are no larger than a slab."""
    planes = max(_SLAB // max(array[:, :1].size * 4, 1), 1)
    return [(start, min(start + planes, array.shape[1])) for start in range(0, array.shape[1], planes)]


def _box(shape: tuple[int, ...]) -> Box:
    x, y, z = shape
    return (0, x), (0, y), (0, z)
