"""The surface of a mask as DeepMind's `surface-distance` defines it: elements with an area.

Nikolov et al., arXiv 1809.04430: the surface of a mask runs through the corners of voxels; a corner whose eight voxels
are not all inside or all outside carries a surface element, whose area follows from which of the eight are inside
(marching cubes). The BraTS challenges of 2023 and 2024 use it; `surfaces` has the other definition, by voxels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def percentile_by_area(distances: NDArray[np.float64], areas: NDArray[np.float64], percentile: float) -> float:
    """The smallest of the distances within which this percentage of the area lies."""
    order = np.lexsort((areas, distances))
    covered = np.cumsum(areas[order]) / np.sum(areas)
    return float(distances[order][min(int(np.searchsorted(covered, percentile / 100)), len(order) - 1)])


def surfels(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Corners (N,3) that carry a surface element, and its area (N,) in mm².

    Corner (0,0,0) is the one between the first voxel and what lies before it on all axes; outside its array the mask
    is empty.

    Args:
        mask: (X,Y,Z).
        spacing_mm: of the axes.
    """
    table, kernel = _area_table(spacing_mm)
    padded = np.pad(mask, 1).view(np.uint8)
    codes = np.zeros([size - 1 for size in padded.shape], dtype=np.uint8)
    for corner in np.ndindex(2, 2, 2):
        codes += kernel[corner] * padded[tuple(slice(c, c + n) for c, n in zip(corner, codes.shape, strict=True))]
    surface = (codes != 0) & (codes != 255)
    return np.argwhere(surface), table[codes[surface]]


@lru_cache(maxsize=8)
def _area_table(spacing_mm: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Area of a surface element by the code of its eight voxels, and their bits in the code (2,2,2)."""
    # MONAI carries DeepMind's table; it takes seconds to import, so only those who ask for it wait.
    from monai.metrics.utils import create_table_neighbour_code_to_surface_area

    areas, kernel = create_table_neighbour_code_to_surface_area(spacing_mm)
    return areas.numpy().astype(np.float64), kernel.numpy().reshape(2, 2, 2).astype(np.uint8)
