"""How often each pair of label values occurs in the same voxel: the one pass over the voxels of a case.

Every overlap metric of every class or nested region follows from this small table, so a case of a hundred classes
costs no more than one of two, and BraTS labels are interpreted after all files of a side have been seen.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.evaluation.measures.overlap import Overlap

#: Span of label values up to which values index the table directly; wider spans are sorted first.
_DIRECT_SPAN = 1024


@dataclass(frozen=True)
class JointCounts:
    """Voxels by the value that the prediction and the reference give them."""

    #: Label values of the prediction, ascending; one row of `voxels` each.
    prediction_values: tuple[int, ...]
    #: Label values of the reference, ascending; one column of `voxels` each.
    reference_values: tuple[int, ...]
    #: Number of voxels, (values of the prediction, values of the reference), int64.
    voxels: NDArray[np.int64]

    def overlap(self, prediction_labels: Collection[int], reference_labels: Collection[int]) -> Overlap:
        """Overlap of the masks `prediction in prediction_labels` and `reference in reference_labels`."""
        rows = np.isin(self.prediction_values, list(prediction_labels))
        columns = np.isin(self.reference_values, list(reference_labels))
        both = int(self.voxels[np.ix_(rows, columns)].sum())
        return Overlap(
            intersection=both,
            prediction_only=int(self.voxels[rows].sum()) - both,
            reference_only=int(self.voxels[:, columns].sum()) - both,
            total=int(self.voxels.sum()),
        )


def count_jointly(prediction: NDArray[np.integer[Any]], reference: NDArray[np.integer[Any]]) -> JointCounts:
    """Count the pairs of label values of two label arrays of the same shape (any axis order, the same for both).

    Only voxels that are not background in both are looked at closely: a few per cent of a scan.

    Raises:
        ValueError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"shapes differ: {prediction.shape} and {reference.shape}")
    # NIfTI voxels lie in memory with X fastest; they are read in this order.
    prediction, reference = prediction.ravel(order="F"), reference.ravel(order="F")
    foreground = (prediction != 0) | (reference != 0)
    rows, row_values = _indices(prediction[foreground])
    columns, column_values = _indices(reference[foreground])
    shape = (len(row_values), len(column_values))
    voxels = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1]).reshape(shape)
    voxels[row_values.index(0), column_values.index(0)] += prediction.size - rows.size
    return JointCounts(*_present(row_values, column_values, voxels.astype(np.int64)))


def _indices(values: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], list[int]]:
    """Index of every value in an ascending list of label values, and that list; 0 is always in it."""
    low, high = (min(int(values.min()), 0), max(int(values.max()), 0)) if values.size else (0, 0)
    if high - low < _DIRECT_SPAN:
        return values.astype(np.int64) - low, list(range(low, high + 1))
    unique, indices = np.unique(np.append(values, 0), return_inverse=True)
    return indices[:-1].astype(np.int64), unique.tolist()


def _present(
    row_values: list[int], column_values: list[int], voxels: NDArray[np.int64]
) -> tuple[tuple[int, ...], tuple[int, ...], NDArray[np.int64]]:
    """The table without the values that no voxel has."""
    rows, columns = (np.flatnonzero(voxels.sum(axis=axis)) for axis in (1, 0))
    return tuple(row_values[i] for i in rows), tuple(column_values[i] for i in columns), voxels[np.ix_(rows, columns)]
