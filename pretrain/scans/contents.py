"""What the files of a scan hold: a fingerprint of the voxels, and whether they show anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig
from transforms.content import content_hash
from transforms.geometry import Volume

#: Share of the voxels other than 0 that equal their neighbour. Label maps have 0.83 and more (117 classes at 3 mm 0.90,
#: hippocampi 0.88), scans 0.25 and less (CT of 8 bits 0.23, MR 0.07).
_LABEL_LIKE = 0.6


@dataclass(frozen=True, kw_only=True)
class Content:
    """What was found in the files of a scan."""

    #: 32 hexadecimal digits, the same for the same voxels in any format (`transforms.content`).
    hash: str
    channels: int
    #: Why it cannot be used; none where it can.
    problem: str | None = None


def examine(volume: Volume, intensity: IntensityConfig) -> Content:
    """Take the fingerprint of a scan and see whether it shows anything.

    Args:
        volume: float32, C x X x Y x Z as stored.
        intensity: with "hu_window" a scan that shows nothing in the window is empty.
    """
    array = volume.array
    low, high = float(array.min()), float(array.max())
    problem = None
    if low == high:
        problem = f"is constant: every voxel is {low:g}"
    elif intensity.scheme == "hu_window" and (intensity.window[0] >= high or intensity.window[1] <= low):
        bounds = "{:g}..{:g}".format(*intensity.window)
        problem = f"is empty: its values {low:g}..{high:g} lie outside the window {bounds}"
    elif low >= 0 and _is_label_map(array):
        problem = f"is a label map, not a scan: even areas of whole numbers up to {high:g}"
    return Content(hash=content_hash(volume), channels=array.shape[0], problem=problem)


def _is_label_map(array: NDArray[np.float32]) -> bool:
    if not np.array_equal(array, np.rint(array)):
        return False
    here, next_to_it = array[:, :-1], array[:, 1:]
    shown = here != 0
    return bool(shown.any() and (here == next_to_it)[shown].mean() > _LABEL_LIKE)
