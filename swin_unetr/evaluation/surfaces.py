"""Distances in mm between the surfaces of two masks.

The surface of a mask is the mask without its erosion by the six neighbours of a voxel; outside the scan there is
nothing, so voxels of the mask at the border belong to its surface. A surface is the centres of these voxels. This is
the definition of MONAI (`monai.metrics.utils.get_mask_edges`), and so are the metrics here.

The work is done on each structure's own bounding box, and both directed distances come from one pair of k-d trees of
surface voxels that all metrics share. Points lie where the affine puts them, so the voxels of a tilted gantry are
sheared as in the scan; without shear this is the same as scaling the indices by the spacing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import KDTree


@dataclass(frozen=True)
class SurfaceDistances:
    """From every surface voxel of one mask to the nearest one of the other, in mm, both ways; both not empty."""

    #: From the prediction's surface voxels to the reference's, float64.
    to_reference: NDArray[np.float64]
    #: From the reference's surface voxels to the prediction's, float64.
    to_prediction: NDArray[np.float64]

    def hausdorff(self, percentile: float = 100) -> float:
        """The larger of the two directed distances, or of their percentiles, in mm.

        Huttenlocher et al., IEEE TPAMI 15:850, 1993; the percentile as `monai.metrics.HausdorffDistanceMetric` takes
        it: of each direction apart, then the larger one.
        """
        return max(float(np.percentile(side, percentile)) for side in (self.to_reference, self.to_prediction))

    def average(self) -> float:
        """Average symmetric surface distance in mm: the mean of the distances of both surfaces together.

        Heimann et al., IEEE TMI 28:1251, 2009.
        """
        count = self.to_reference.size + self.to_prediction.size
        return float(self.to_reference.sum() + self.to_prediction.sum()) / count

    def dice(self, tolerance_mm: float) -> float:
        """Normalised surface Dice, 0..1: the share of both surfaces within `tolerance_mm` of the other one.

        Nikolov et al., arXiv 1809.04430; counted in surface voxels, as `monai.metrics.SurfaceDiceMetric` does without
        sub-voxels. DeepMind's own code weights by the area of the surface instead.
        """
        near = int((self.to_reference <= tolerance_mm).sum()) + int((self.to_prediction <= tolerance_mm).sum())
        return near / (self.to_reference.size + self.to_prediction.size)


class LabelBoxes:
    """A label map and the bounding box of each of its values: structures are cut out of it, nothing is one-hot."""

    def __init__(self, labels: NDArray[np.integer[Any]]) -> None:
        """Find the boxes in one pass.

        Args:
            labels: label values (X,Y,Z).
        """
        self._labels = labels
        # Ranks, not values: the cost of find_objects grows with the largest value, and it passes over negative ones.
        low, high = int(labels.min()), int(labels.max())
        if low >= 0 and high < 1024:
            found = find_objects(labels if labels.dtype.itemsize >= 1 else labels.astype(np.int32))
            self._boxes: Mapping[int, tuple[slice, ...]] = {v: b for v, b in enumerate(found, 1) if b is not None}
        else:
            values, ranks = np.unique(labels, return_inverse=True)
            found = find_objects(ranks.reshape(labels.shape).astype(np.int32) + 1)
            self._boxes = {int(v): b for v, b in zip(values, found, strict=True) if b is not None}

    def surface(self, values: Collection[int]) -> NDArray[np.int64]:
        """Voxel indices (N,3) of the surface of the mask `label in values`."""
        boxes = [self._boxes[value] for value in values if value in self._boxes]
        if not boxes:
            return np.empty((0, 3), dtype=np.int64)
        start = [min(box[axis].start for box in boxes) for axis in range(3)]
        box = tuple(slice(start[axis], max(box[axis].stop for box in boxes)) for axis in range(3))
        mask = np.isin(self._labels[box], list(values)) if len(values) > 1 else self._labels[box] == next(iter(values))
        surface: NDArray[np.int64] = surface_voxels(mask) + np.array(start)
        return surface


def surface_voxels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices (N,3) of the voxels of a mask (X,Y,Z) that have a neighbour, of six, outside it."""
    inner = mask.copy()
    for axis in range(3):
        moved, source = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        moved[1:] &= source[:-1]
        moved[:-1] &= source[1:]
        moved[0] = moved[-1] = False
    shell: NDArray[np.int64] = np.argwhere(mask & ~inner)
    return shell


def surface_distances(
    prediction: NDArray[np.int64], reference: NDArray[np.int64], affine: NDArray[np.float64]
) -> SurfaceDistances | None:
    """Distances between two surfaces, or None where one of them is empty.

    Args:
        prediction: voxel indices (N,3).
        reference: voxel indices (M,3).
        affine: voxel indices -> mm, (3,3) or (4,4).
    """
    if not len(prediction) or not len(reference):
        return None
    to_mm = _without_rotation(affine[:3, :3])
    points, others = prediction @ to_mm.T, reference @ to_mm.T
    return SurfaceDistances(KDTree(others).query(points)[0], KDTree(points).query(others)[0])


def diagonal_mm(shape: tuple[int, ...], affine: NDArray[np.float64]) -> float:
    """The longest distance between the centres of two voxels of the scan, in mm."""
    to_mm, extent = affine[:3, :3], np.array(shape) - 1
    signs = np.array([(1, a, b) for a in (-1, 1) for b in (-1, 1)])
    return float(np.linalg.norm((signs * extent) @ to_mm.T, axis=1).max())


def _without_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix without its rotation: the diagonal of the spacings exactly, where nothing is sheared."""
    spacing = np.linalg.norm(matrix, axis=0)
    cosines = (matrix.T @ matrix) / np.outer(spacing, spacing)
    if math.isclose(float(np.abs(cosines - np.eye(3)).max()), 0, abs_tol=1e-5):
        return np.diag(spacing)
    return matrix
