"""Measures cases, one or several at a time; what fails is a failure of its case and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from swin_unetr.batch import Failure
from swin_unetr.errors import DataError
from swin_unetr.evaluation.cases import Pair
from swin_unetr.evaluation.joint_counts import JointCounts, count_jointly
from transforms.geometry import require_same_geometry
from transforms.io import read_labels


@dataclass(frozen=True)
class Measurement:
    """What one pass over the voxels of a case gives."""

    pair: Pair
    counts: JointCounts
    #: Volume of a voxel in millilitres.
    voxel_ml: float


def measure(pair: Pair) -> Measurement:
    """Read and compare the two label files of a case.

    Raises:
        DataError: a file is missing, unreadable, or no label file.
        GeometryError: shape, spacing, orientation or origin of the two differ.
    """
    prediction = read_labels(pair.prediction)
    reference = read_labels(pair.reference)
    require_same_geometry(pair.prediction, prediction.geometry, pair.reference, reference.geometry)
    # The determinant, not the product of the spacings: a tilted gantry shears the voxels.
    voxel_ml = abs(float(np.linalg.det(reference.geometry.affine[:3, :3]))) / 1000
    return Measurement(pair, count_jointly(prediction.array, reference.array), voxel_ml)


def measure_all(
    pairs: Sequence[Pair], workers: int, on_case: Callable[[int, int], None] | None = None
) -> tuple[list[Measurement], list[Failure]]:
    """Measure cases in their order; the result does not depend on `workers`.

    Args:
        pairs: the cases.
        workers: threads; 0 or 1 measures one case after the other. Decompression and counting leave Python's lock.
        on_case: called with the number done and the number of all, after every case.
    """
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    for done, outcome in enumerate(_outcomes(pairs, workers), 1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            measurements.append(outcome)
        if on_case is not None:
            on_case(done, len(pairs))
    return measurements, failures


def _outcomes(pairs: Sequence[Pair], workers: int) -> Iterator[Measurement | Failure]:
    if workers <= 1:
        yield from map(_outcome, pairs)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(_outcome, pairs)


def _outcome(pair: Pair) -> Measurement | Failure:
    try:
        return measure(pair)
    except DataError as error:
        return Failure(pair.case, str(error))
