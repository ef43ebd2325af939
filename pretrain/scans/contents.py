"""What the files of a scan hold: a fingerprint of the voxels, and whether they show anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.config import PreprocessConfig
from transforms.content import channel_hashes, content_hash, grid_hash
from transforms.geometry import Volume
from transforms.steps import ZScore, steps_of
from transforms.values import looks_like_labels


@dataclass(frozen=True, kw_only=True)
class Content:
    """What was found in the files of a scan."""

    #: 32 hexadecimal digits, the same for the same voxels in any format (`transforms.content`).
    hash: str
    channels: int
    #: The same for each channel, if there are several. A constant channel has none: other scans may have the same one.
    channel_hashes: tuple[str, ...] = ()
    #: Why it cannot be used. None if it can.
    problem: str | None = None
    #: Hash of the directions and lengths of the voxels' edges, which decide how the same voxels are resampled.
    grid: str = ""

    @property
    def stored_as(self) -> str:
        """Name of its preprocessed scan."""
        return f"{self.hash}-{self.grid}"

    @property
    def hashes(self) -> frozenset[str]:
        """Hashes of the scan, and of its channels as files of their own."""
        return frozenset((self.hash, *self.channel_hashes))


def examine(volume: Volume, preprocess: PreprocessConfig) -> Content:
    """Take the fingerprint of a scan and check whether it shows anything.

    Args:
        volume: float32, C x X x Y x Z as stored.
        preprocess: its intensity; with "hu_window" and "hu_zscore" a scan that shows nothing in the window is empty.

    Raises:
        ConfigError: an intensity of a channel that the scan does not have.
    """
    array = volume.array
    low, high = float(array.min()), float(array.max())
    problem = None
    if low == high:
        problem = f"is constant: every voxel is {low:g}"
    elif bounds := _windows_outside(array, preprocess):
        problem = f"is empty: its values {low:g}..{high:g} lie outside the window {bounds}"
    elif all(looks_like_labels(channel) is not None for channel in array):
        problem = f"is a label map, not a scan: even areas of whole numbers up to {high:g}"
    return Content(
        hash=content_hash(volume),
        channels=len(array),
        channel_hashes=channel_hashes(volume),
        problem=problem,
        grid=grid_hash(volume.geometry),
    )


def _windows_outside(array: NDArray[np.float32], preprocess: PreprocessConfig) -> str:
    """The windows of the channels, if each has one and no value lies in it; else empty."""
    windows = []
    for channel, of in zip(array, steps_of(preprocess, len(array)).intensity.channels, strict=True):
        if isinstance(of, ZScore) or (of.low < float(channel.max()) and of.high > float(channel.min())):
            return ""
        windows.append(f"{of.low:g}..{of.high:g}")
    return ", ".join(dict.fromkeys(windows))
