"""A fingerprint of the voxels of a scan, whatever its format."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.geometry import DIRECTIONS, Geometry, Volume

#: Axis of the patient, X, Y or Z, by the letters of an orientation.
AXIS_OF_LETTER = {letter: axis for axis, pair in enumerate(DIRECTIONS) for letter in pair}


def content_hash(volume: Volume) -> str:
    """A fingerprint of the voxels in RAS order: the same for a scan as NIfTI, as DICOM, and under another name.

    Spacing and position do not count: a copy with a mended header is still a copy. Values count as float32.
    """
    array = _in_ras(volume)
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    for channel in array:
        for plane in channel:  # by planes: a contiguous copy of the whole would double the memory
            with np.errstate(over="ignore"):  # values beyond float32 are refused elsewhere
                numbers = plane.astype(np.float32, copy=False)
            digest.update(np.ascontiguousarray(numbers + np.float32(0)).data)  # -0 and 0 are one value
    return digest.hexdigest()


def channel_hashes(volume: Volume) -> tuple[str, ...]:
    """The fingerprint that each channel would have as its own file; empty for a single channel.

    A constant channel is left out: it would equal those of other scans.
    """
    if len(volume.array) == 1:
        return ()
    channels = (channel for channel in volume.array if channel.min() != channel.max())
    return tuple(content_hash(Volume(channel[None], volume.geometry)) for channel in channels)


def grid_hash(geometry: Geometry) -> str:
    """A fingerprint of the edges of a grid's voxels in RAS order, to 1e-3 mm; position does not count."""
    order, flipped = _order(geometry)
    edges = geometry.affine[:3, order] * np.where(flipped, -1, 1)
    numbers = np.rint(edges * 1000).astype(np.int64)
    return hashlib.blake2b(repr(numbers.tolist()).encode(), digest_size=6).hexdigest()


def _in_ras(volume: Volume) -> NDArray[Any]:
    """The array with its axes in the order X, Y, Z of the patient, each towards right, anterior, superior."""
    order, flipped = _order(volume.geometry)
    array: NDArray[Any] = volume.array.transpose(0, *(axis + 1 for axis in order))
    for at, flip in enumerate(flipped, start=1):
        array = np.flip(array, at) if flip else array
    return array


def _order(geometry: Geometry) -> tuple[list[int], list[bool]]:
    """The stored axes in the order X, Y, Z of the patient, and which of them run towards left, posterior, inferior."""
    letters = geometry.orientation
    order = sorted(range(3), key=lambda axis: AXIS_OF_LETTER[letters[axis]])
    return order, [letters[axis] in "LPI" for axis in order]
