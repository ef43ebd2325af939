"""The voxel size that all scans are brought to.

Median and anisotropic rule are nnU-Net's (Isensee et al., Nature Methods 18:203, 2021, Methods, "Target spacing", and
`determine_fullres_target_spacing` of its code): the median of each axis; where one axis is more than three times as
coarse as the others, and has less than a third of their voxels, the tenth percentile for that axis, but no finer than
the others. Coarsening is our own: nnU-Net would train a second, coarser network and a cascade.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swin_unetr.config import Triple
from swin_unetr.planning.fingerprint import FloatTriple, medians
from swin_unetr.words import count

#: From here on an axis is anisotropic (nnU-Net).
ANISOTROPY = 3.0
#: Least share of a scan that a crop is to see; nnU-Net calls for a coarser grid at a quarter. Published crops see less:
#: BTCV's 96 cubed at 1.5 x 1.5 x 2 mm about a fifteenth.
LEAST_SEEN = 1 / 16
#: A voxel grows to at most eight times its volume, and the smallest structure keeps at least this many voxels.
LARGEST_GROWTH, SMALLEST_STRUCTURE = 8.0, 1000
#: Voxels that the smallest structure keeps where a training has little time.
FEWEST_OF_STRUCTURE = 100
#: Growing by less is not worth the blur of a resampling.
WORTH_RESAMPLING = 1.5


@dataclass(frozen=True)
class Grid:
    """A voxel size, and why."""

    spacing_mm: FloatTriple
    reason: str

    def shape_of(self, shape: Sequence[float], spacing_mm: FloatTriple) -> FloatTriple:
        """Voxels along each axis of a scan of another grid."""
        x, y, z = (count * size / own for count, size, own in zip(shape, spacing_mm, self.spacing_mm, strict=True))
        return x, y, z


def target_grid(spacings_mm: Sequence[FloatTriple], shapes: Sequence[Triple]) -> Grid:
    """The median voxel size, with nnU-Net's rule for one coarse axis."""
    spacing, shape = list(medians(spacings_mm)), medians(shapes)
    worst = spacing.index(max(spacing))
    others = [axis for axis in range(3) if axis != worst]
    finest_other, fewest = max(spacing[axis] for axis in others), min(shape[axis] for axis in others)
    reason = f"median of {count(len(spacings_mm), 'scan')}"
    if spacing[worst] > ANISOTROPY * finest_other and shape[worst] * ANISOTROPY < fewest:
        tenth = float(np.percentile([each[worst] for each in spacings_mm], 10))
        spacing[worst] = max(tenth, finest_other)
        reason += (
            f"; along {'XYZ'[worst]} their 10th percentile, since voxels are more than {ANISOTROPY:g} times as long "
            "there as across (nnU-Net's rule)"
        )
    x, y, z = (_rounded(size) for size in spacing)
    return Grid((x, y, z), reason)


def coarser_grid(grid: Grid, shape: FloatTriple, crop_voxels: int, smallest_mm3: float) -> Grid | None:
    """A coarser grid, on which a crop sees enough of a scan.

    The finest axes are coarsened first, until all are alike, then all together.

    Args:
        grid: the current one.
        shape: median voxels on it.
        crop_voxels: that fit into the memory.
        smallest_mm3: volume of the smallest structure; 0 if it is not known.

    Returns:
        The grid; None if the crop sees enough, or little would be gained.
    """
    seen = crop_voxels / math.prod(shape)
    voxel = math.prod(grid.spacing_mm)
    growth = min(LEAST_SEEN / seen, LARGEST_GROWTH)
    if smallest_mm3:
        growth = min(growth, smallest_mm3 / SMALLEST_STRUCTURE / voxel)
    if growth < WORTH_RESAMPLING:
        return None
    x, y, z = (_rounded(size) for size in _grown(grid.spacing_mm, growth))
    kept = f", and the smallest structure keeps {smallest_mm3 / (x * y * z):,.0f} voxels" if smallest_mm3 else ""
    reason = f"{grid.reason}, {_words(grid.spacing_mm)}, made coarser: a crop would see {seen:.1%} of a scan{kept}"
    return Grid((x, y, z), reason)


def faster_grid(grid: Grid, growth: float, smallest_mm3: float) -> Grid:
    """A coarser grid, on which a step takes less time.

    Args:
        grid: the one on which a person with time would train.
        growth: of a voxel's volume.
        smallest_mm3: volume of the smallest structure, which keeps `FEWEST_OF_STRUCTURE` voxels; 0 if it is not known.

    Returns:
        The grid; the given one if its voxels cannot grow.
    """
    voxel = math.prod(grid.spacing_mm)
    if smallest_mm3:
        growth = min(growth, smallest_mm3 / FEWEST_OF_STRUCTURE / voxel)
    if growth < WORTH_RESAMPLING:
        return grid
    x, y, z = (_rounded(size) for size in _grown(grid.spacing_mm, growth))
    kept = f", and the smallest structure keeps {smallest_mm3 / (x * y * z):,.0f} voxels" if smallest_mm3 else ""
    reason = f"{grid.reason}, {_words(grid.spacing_mm)}, made coarser: more steps in the time{kept}"
    return Grid((x, y, z), reason)


def _grown(spacing: FloatTriple, growth: float) -> list[float]:
    """Axes of a voxel that has grown by a factor, the finest first."""
    volume = math.prod(spacing) * growth
    grown = list(spacing)
    for alike in (1, 2, 3):  # this many axes are alike
        order = sorted(range(3), key=lambda axis: spacing[axis])
        size = float((volume / math.prod(spacing[axis] for axis in order[alike:])) ** (1 / alike))
        if alike == 3 or size <= spacing[order[alike]]:
            for axis in order[:alike]:
                grown[axis] = size
            break
    return grown


def _rounded(size: float) -> float:
    """Four significant digits: rounding of headers (0.9999999) is no voxel size."""
    return float(f"{size:.4g}")


def _words(spacing: FloatTriple) -> str:
    return " x ".join(f"{size:g}" for size in spacing) + " mm"
