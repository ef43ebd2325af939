"""Segmentations of 3D Slicer (.seg.nrrd): the segments in their headers, and their place on the scan's grid.

Slicer stores only the box that the segments fill, and segments that overlap in several layers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from swin_unetr.datasets.listing import SEGMENTATION_SUFFIXES, image_suffix
from transforms.geometry import Geometry, Volume

#: Why a file with several layers is no label map, and what to do; follows the name of the file.
LAYERED = (
    "holds segments that overlap, in several layers, where one label for each voxel is wanted; in Slicer, export the "
    "segmentation to a label map"
)
_VALUE = re.compile(r"Segment(\d+)_LabelValue")
#: How far a place on another grid may be from a whole number of voxels.
_WHOLE = 1e-2


def segments(header: Any) -> tuple[tuple[int, str], ...] | None:
    """Names of the segments by label value. None if the image is not a segmentation of Slicer.

    Args:
        header: a reader of SimpleITK that has read the header of a file.
    """
    keys = header.GetMetaDataKeys()
    if not any(key.startswith(("Segmentation_", "Segment0_")) for key in keys):
        return None
    found: dict[int, str] = {}
    for key in keys:
        if match := _VALUE.fullmatch(key):
            name = f"Segment{match[1]}_Name"
            value = header.GetMetaData(key).strip()
            if value.isdigit() and name in keys:
                found[int(value)] = header.GetMetaData(name).strip()
    return tuple(sorted(found.items()))


def is_segmentation(path: Path) -> bool:
    """Whether a file is a segmentation of Slicer, by its name."""
    return image_suffix(path) in SEGMENTATION_SUFFIXES


def on_grid_of(labels: Volume, grid: Geometry) -> Volume:
    """A label map on a box of a grid, extended to the whole grid with 0. Any other label map is returned unchanged.

    Args:
        labels: 1 x X x Y x Z as stored.
        grid: of the scan.
    """
    to_grid = np.linalg.solve(grid.affine, labels.geometry.affine)
    first = np.rint(to_grid[:3, 3]).astype(int)
    last = first + labels.geometry.shape
    # How far the corners of the box are from the nearest voxels.
    ends = np.array(list(np.ndindex(2, 2, 2))) * (np.array(labels.geometry.shape) - 1)
    missed = ends @ (to_grid[:3, :3] - np.eye(3)).T + (to_grid[:3, 3] - first)
    if (first < 0).any() or (last > grid.shape).any() or np.abs(missed).max() > _WHOLE or len(labels.array) != 1:
        return labels
    array = np.zeros((1, *grid.shape), labels.array.dtype, order="F")
    array[0][tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))] = labels.array[0]
    return Volume(array, grid, labels.notes)
