"""Overlap of two masks, from counts of voxels alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

#: What Dice is where the structure is in neither mask. "nan": undefined, left out of the mean and counted apart.
#: "brats": 1, as the BraTS challenges score it.
EmptyPolicy = Literal["nan", "brats"]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Voxels of a prediction's and a reference's mask of the same structure in the same case."""

    intersection: int
    prediction_only: int
    reference_only: int
    #: Voxels of the whole scan.
    total: int

    @property
    def prediction(self) -> int:
        """Voxels of the prediction's mask."""
        return self.intersection + self.prediction_only

    @property
    def reference(self) -> int:
        """Voxels of the reference's mask."""
        return self.intersection + self.reference_only

    @property
    def both_empty(self) -> bool:
        """Whether the structure is in neither mask."""
        return self.prediction == self.reference == 0


def dice(overlap: Overlap, empty: EmptyPolicy = "nan") -> float:
    """Dice's coefficient 2|P∩R| / (|P| + |R|) (Dice, Ecology 26:297, 1945), 0..1.

    Both masks empty is NaN, or 1 under the policy "brats"; one empty is 0 by the formula.
    """
    if overlap.both_empty:
        return 1.0 if empty == "brats" else math.nan
    return 2 * overlap.intersection / (overlap.prediction + overlap.reference)


def iou(overlap: Overlap, empty: EmptyPolicy = "nan") -> float:
    """Intersection over union |P∩R| / |P∪R| (Jaccard, New Phytologist 11:37, 1912), 0..1; empty masks as `dice`."""
    if overlap.both_empty:
        return 1.0 if empty == "brats" else math.nan
    return overlap.intersection / (overlap.intersection + overlap.prediction_only + overlap.reference_only)


def sensitivity(overlap: Overlap, empty: EmptyPolicy = "nan") -> float:
    """Share |P∩R| / |R| of the reference that was found, 0..1; 0 where only the reference is empty."""
    return _share(overlap, overlap.reference, empty)


def precision(overlap: Overlap, empty: EmptyPolicy = "nan") -> float:
    """Share |P∩R| / |P| of the prediction that is right, 0..1; 0 where only the prediction is empty."""
    return _share(overlap, overlap.prediction, empty)


def specificity(overlap: Overlap, empty: EmptyPolicy = "nan") -> float:
    """Share of the voxels outside the reference that are outside the prediction too; NaN where there are none."""
    if overlap.both_empty:
        return 1.0 if empty == "brats" else math.nan
    outside = overlap.total - overlap.reference
    return (outside - overlap.prediction_only) / outside if outside else math.nan


def _share(overlap: Overlap, of: int, empty: EmptyPolicy) -> float:
    if overlap.both_empty:
        return 1.0 if empty == "brats" else math.nan
    return overlap.intersection / of if of else 0.0
