"""Checks of voxel values: are they label numbers, do they look like a label map, can they be Hounsfield units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: How far a label may be from a whole number: headers that scale stored numbers give 0.99998 and 1.0000001.
_WHOLE = 1e-3
#: Share of the voxels other than 0 that equal their neighbour. Label maps have 0.83 and more (117 classes at 3 mm 0.90,
#: hippocampi 0.88), scans 0.25 and less (CT of 8 bits 0.23, MR 0.07).
_LABEL_LIKE = 0.6
#: Hounsfield units: fat and air lie below this, so every CT has voxels there; and tissue lies within a range at least
#: as wide. Scanners store 12 bits, a little more for metal.
_FAT_HU, _RANGE_HU, _HIGHEST_HU = -30.0, 150.0, 40_000.0
#: How many planes are looked at, and how many different values a label map has at most.
_PLANES, _MOST_VALUES = 48, 1000


def are_whole(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are whole numbers, up to the rounding of a header's scale; NaN is not."""
    if array.dtype.kind in "biu":
        return np.ones(array.shape, bool)
    with np.errstate(invalid="ignore"):
        whole: NDArray[np.bool_] = np.abs(array - np.rint(array)) <= _WHOLE
    return whole


def looks_like_labels(channel: NDArray[Any]) -> int | None:
    """Whether a channel of a scan looks like a label map: even areas of whole numbers, none below 0.

    Args:
        channel: X x Y x Z. Planes at even distances are looked at.

    Returns:
        How many different values the planes have besides 0. None if it looks like a scan.
    """
    if channel.shape[1] < 2:
        return None
    places = np.unique(np.linspace(0, channel.shape[2] - 1, _PLANES).astype(int))
    equal = shown = 0
    for plane in (channel[..., place] for place in places):
        if plane.min() < 0 or not are_whole(plane).all():
            return None
        here, neighbour = np.rint(plane[:, :-1]), np.rint(plane[:, 1:])
        labelled = here != 0
        shown += int(np.count_nonzero(labelled))
        equal += int(np.count_nonzero((here == neighbour) & labelled))
    if not shown or equal <= _LABEL_LIKE * shown:
        return None
    values = np.unique(np.concatenate([np.unique(np.rint(channel[..., place])) for place in places]))
    return int(np.count_nonzero(values)) if values.size <= _MOST_VALUES else None


def not_hounsfield(low: float, high: float) -> str | None:
    """Why values cannot be Hounsfield units. None if they can.

    Args:
        low: percentile 0.5.
        high: percentile 99.5.
    """
    between = f"values {low:g} to {high:g} (percentiles 0.5 and 99.5)"
    if high - low < _RANGE_HU:
        return f"{between} are too narrow a range"
    if low > _FAT_HU:
        return f"{between}: neither air nor fat, which lie below {_FAT_HU:g}"
    if high > _HIGHEST_HU or low < -_HIGHEST_HU:
        return f"{between} lie far outside what a scanner gives"
    return None
