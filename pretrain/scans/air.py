"""How much of a crop is not air."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig, PreprocessConfig

#: What is below is air: it lies between the lungs, at about -800, and fat, at about -100.
AIR_HU = -500.0
#: Stored values are rounded by less than this.
_ROUNDING = 1e-3


def air_levels(preprocess: PreprocessConfig, channels: int) -> tuple[float, ...]:
    """The value of each channel up to which a voxel is air, as the network sees it.

    Args:
        preprocess: how the scans were normalised.
        channels: how many a scan has.
    """
    return tuple(_level(of) + _ROUNDING for of in preprocess.intensities([str(number) for number in range(channels)]))


def _level(intensity: IntensityConfig) -> float:
    if not intensity.is_hounsfield:
        return 0.0  # the mean
    low, high = intensity.window
    value = min(max(AIR_HU, low), high)
    if intensity.scheme == "hu_window":
        return (value - low) / (high - low)
    assert intensity.mean is not None  # the configuration refuses None
    assert intensity.std is not None
    return (value - intensity.mean) / intensity.std


def tissue_share(crop: NDArray[np.float32], levels: Sequence[float]) -> float:
    """Share of the voxels of a crop that are no air in any channel; what is exactly 0 lies beyond the scan.

    Args:
        crop: C x X x Y x Z.
        levels: of each channel, from `air_levels`.
    """
    limits = np.asarray(levels, np.float32)[:, None, None, None]
    return float(((crop > limits) & (crop != 0)).any(0).mean())
