"""Measures cases, one or several at a time; what fails is a failure of its case and of nothing else.

Both label files of a case are read once and everything is measured while they are in memory. The label
values of all cases are read before only if the meaning of the labels is inferred from them (`--task brats`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from swin_unetr.batch import Failure
from swin_unetr.errors import DataError, GeometryError
from swin_unetr.evaluation.inputs.cases import Pair
from swin_unetr.evaluation.inputs.hashes import label_hashes
from swin_unetr.evaluation.inputs.looked_for import LookedFor
from swin_unetr.evaluation.inputs.reading import LabelValues, Tasks, check_values
from swin_unetr.evaluation.lesions.cases import StructureLesions, lesions_of_case
from swin_unetr.evaluation.lesions.rules import LesionRules
from swin_unetr.evaluation.measures.distances import DistancePolicy, measure_distances
from swin_unetr.evaluation.measures.joint_counts import count_jointly
from swin_unetr.evaluation.measures.label_boxes import LabelBoxes
from swin_unetr.evaluation.metrics import Compared
from swin_unetr.tasks import Task
from swin_unetr.words import count
from transforms.geometry import Geometry, Volume
from transforms.io import read_labels
from transforms.resample import covering_grid, labels_on_grid, padded, voxels_outside

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """What is to be measured in every case, and how."""

    tasks: Tasks
    policy: DistancePolicy
    #: Whether surface metrics are measured.
    surfaces: bool = True
    #: What a lesion is. If None, lesions are not measured.
    lesions: LesionRules | None = None
    #: Whether a prediction on another grid is resampled to the reference's rather than refused.
    resample: bool = False
    #: Which structures count in each case.
    looked_for: LookedFor = field(default_factory=LookedFor)


@dataclass(frozen=True, kw_only=True)
class LabelPair:
    """The label values of a case in memory, both on one grid."""

    pair: Pair
    #: X x Y x Z as stored.
    prediction: NDArray[np.integer[Any]]
    reference: NDArray[np.integer[Any]]
    #: Grid of both: the reference's, larger where a resampled prediction reaches beyond it.
    geometry: Geometry
    #: How the prediction's own grid differed, where it was resampled.
    resampled: str | None = None
    #: What the reading of its files found odd.
    notes: tuple[str, ...] = ()

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        # The determinant, not the product of the spacings: a tilted gantry shears the voxels.
        return abs(float(np.linalg.det(self.geometry.affine[:3, :3]))) / 1000


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is known of a case."""

    pair: Pair
    #: What was measured, by structure in the order of the reference's task; those that were looked for.
    structures: dict[str, Compared]
    #: How the prediction's own grid differed, where it was resampled.
    resampled: str | None
    #: SHA-256 of the files "prediction" and "reference".
    sha256: dict[str, str]
    #: What the reading of its files found odd.
    notes: tuple[str, ...] = ()
    #: Structures that were not looked for in the reference.
    not_looked_for: tuple[str, ...] = ()

    @property
    def lesions(self) -> dict[str, StructureLesions]:
        """Lesions by structure; empty if they were not asked for."""
        return {name: of.lesions for name, of in self.structures.items() if of.lesions is not None}


def read_pair(pair: Pair, resample: bool = False) -> LabelPair:
    """Read the two label files of a case.

    Args:
        pair: the files.
        resample: put a prediction on another grid onto the reference's; see `on_one_grid`.

    Raises:
        DataError: a file is missing, unreadable, or no label file.
        GeometryError: shape, spacing, orientation or origin of the two differ, and `resample` is not set; or they
            differ by too much.
    """
    prediction = read_labels(pair.prediction)
    reference = read_labels(pair.reference, like=prediction.geometry)
    sides = ("prediction", prediction), ("reference", reference)
    notes = tuple(f"{name}: {note.words}" for name, side in sides for note in side.notes)
    difference = prediction.geometry.difference(reference.geometry)
    if difference is not None and not resample:
        raise GeometryError(
            f"{pair.prediction}: does not lie on the grid of {pair.reference} ({difference}); "
            "correct it, or resample it with --resample-prediction"
        )
    if difference is not None:
        difference += _outside_in_words(prediction, reference.geometry)
        try:
            prediction, reference = on_one_grid(prediction, reference)
        except GeometryError as error:
            raise GeometryError(f"{pair.prediction}: cannot be put on the grid of {pair.reference}: {error}") from error
    return LabelPair(
        pair=pair,
        prediction=prediction.array[0],
        reference=reference.array[0],
        geometry=reference.geometry,
        resampled=difference,
        notes=notes,
    )


def on_one_grid(prediction: Volume, reference: Volume) -> tuple[Volume, Volume]:
    """Both label maps on the reference's grid, which grows where the prediction reaches beyond it.

    There the reference has nothing, so that what was predicted counts as invented.

    Raises:
        GeometryError: the two lie too far apart.
    """
    grid = covering_grid(prediction, reference.geometry)
    return labels_on_grid(prediction, grid), reference if grid is reference.geometry else padded(reference, grid)


def _outside_in_words(prediction: Volume, grid: Geometry) -> str:
    number = voxels_outside(prediction, grid)
    if not number:
        return ""
    ml = number * abs(float(np.linalg.det(prediction.geometry.affine[:3, :3]))) / 1000
    verb = "lies" if number == 1 else "lie"
    return (
        f"; {count(number, 'voxel')} of it ({ml:.4g} ml) {verb} outside the reference's grid and "
        f"count{'s' * (number == 1)} as predicted where nothing is"
    )


def measure(pair: Pair, measuring: Measuring) -> Measurement:
    """Read and compare the two label files of a case.

    Raises:
        DataError: see `read_pair`; also a label value that the task of its side does not know.
    """
    tasks = measuring.tasks
    labels = _without_ignored(read_pair(pair, measuring.resample), tasks.reference)
    counts = count_jointly(labels.prediction, labels.reference)
    check_values(counts.prediction_values, tasks.prediction, pair.prediction)
    check_values(counts.reference_values, tasks.reference, pair.reference)
    boxes = (LabelBoxes(labels.prediction), LabelBoxes(labels.reference)) if measuring.surfaces else None
    lesions = {}
    if measuring.lesions is not None:
        sides = labels.prediction, labels.reference
        both = tasks.prediction, tasks.reference
        lesions = lesions_of_case(*sides, labels.geometry.affine, both, measuring.lesions)
    every = {name: expected for name, _, expected in tasks.structures()}
    held = [name for name, expected in every.items() if not set(expected).isdisjoint(counts.reference_values)]
    left_out = measuring.looked_for.left_out(pair.case, every, held)
    structures = {}
    for name, predicted, expected in tasks.structures():
        if name in left_out:
            continue
        distances = None
        if boxes is not None:
            masks = boxes[0].cut(predicted), boxes[1].cut(expected)
            distances = measure_distances(*masks, labels.geometry, measuring.policy, name)
        structures[name] = Compared(
            overlap=counts.overlap(predicted, expected),
            voxel_ml=labels.voxel_ml,
            distances=distances,
            empty=measuring.policy.empty,
            lesions=lesions.get(name),
        )
    files = {"prediction": str(pair.prediction), "reference": str(pair.reference)}
    return Measurement(
        pair=pair,
        structures=structures,
        resampled=labels.resampled,
        sha256=label_hashes(files),
        notes=labels.notes,
        not_looked_for=left_out,
    )


def _without_ignored(labels: LabelPair, task: Task) -> LabelPair:
    """Without the prediction where the reference is ignored: there it is neither right nor wrong."""
    if task.ignore_label is None:
        return labels
    ignored = labels.reference == task.ignore_label
    return replace(labels, prediction=np.where(ignored, 0, labels.prediction))


def measure_all(
    pairs: Sequence[Pair], measuring: Measuring, workers: int, on_case: Callable[[int, int], None] | None = None
) -> tuple[list[Measurement], list[Failure]]:
    """Measure cases in their order; the result does not depend on `workers`.

    Args:
        pairs: the cases.
        measuring: what is to be measured.
        workers: threads; 0 or 1 measures one case after the other. Decompression and counting leave Python's lock.
        on_case: called with the number done and the number of all, after every case.
    """
    measurements: list[Measurement] = []
    failures: list[Failure] = []
    for done, outcome in enumerate(_each(lambda pair: measure(pair, measuring), pairs, workers), 1):
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            measurements.append(outcome)
        if on_case is not None:
            on_case(done, len(pairs))
    return measurements, failures


def label_values(pairs: Sequence[Pair], workers: int) -> list[LabelValues]:
    """The label values of both files of every case that can be read; the others fail when they are measured."""
    found = _each(lambda pair: LabelValues(_values(pair.prediction), _values(pair.reference)), pairs, workers)
    return [values for values in found if not isinstance(values, Failure)]


def _values(path: Path) -> tuple[int, ...]:
    array = read_labels(path).array
    return count_jointly(array, array).prediction_values


def _each(function: Callable[[Pair], _Result], pairs: Sequence[Pair], workers: int) -> Iterator[_Result | Failure]:
    def outcome(pair: Pair) -> _Result | Failure:
        try:
            return function(pair)
        except DataError as error:
            return Failure(pair.case, str(error))
        except (OSError, MemoryError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return Failure(pair.case, f"{pair.prediction}: could not be compared with {pair.reference} ({reason})")

    if workers <= 1:
        yield from map(outcome, pairs)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(outcome, pairs)
