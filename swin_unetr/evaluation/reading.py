"""Reads the label values of each side by the task, when all files have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_unetr.batch import Failure
from swin_unetr.errors import DataError
from swin_unetr.evaluation.measure import Measurement
from swin_unetr.tasks import BRATS_CONVENTIONS, Task, brats, brats_convention

#: Every value that any BraTS convention knows.
_BRATS_VALUES = frozenset({0, *(label for regions in BRATS_CONVENTIONS.values() for label in regions["WT"])})


@dataclass(frozen=True)
class Reading:
    """Measurements with the task of each side; both tasks have the same structures by name."""

    prediction_task: Task
    reference_task: Task
    measurements: tuple[Measurement, ...]
    #: Cases with a label value that the task of its side does not know.
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Labels:
    """What is known of the labels before the files are read."""

    task: Task
    #: Where the task comes from, for the report.
    source: str
    #: Whether each side's BraTS convention is told from its label values; otherwise `task` holds for both.
    told_from_data: bool = False

    def read(self, measurements: Sequence[Measurement]) -> Reading:
        """Decide on the task of each side, and set the cases apart that do not fit it."""
        prediction_task = self._of_side([measurement.counts.prediction_values for measurement in measurements])
        reference_task = self._of_side([measurement.counts.reference_values for measurement in measurements])
        fitting, failures = [], []
        for measurement in measurements:
            pair, counts = measurement.pair, measurement.counts
            try:
                _check(counts.prediction_values, prediction_task, pair.prediction)
                _check(counts.reference_values, reference_task, pair.reference)
                fitting.append(measurement)
            except DataError as error:
                failures.append(Failure(pair.case, str(error)))
        return Reading(prediction_task, reference_task, tuple(fitting), tuple(failures))

    def _of_side(self, values_of_cases: Sequence[Sequence[int]]) -> Task:
        """The task of the predictions or of the references; a case with foreign values has no say in it."""
        if not self.told_from_data:
            return self.task
        seen = {value for values in values_of_cases if _BRATS_VALUES.issuperset(values) for value in values}
        return brats(brats_convention(seen, fallback=self.task.name))


def _check(values: Sequence[int], task: Task, path: Path) -> None:
    if unknown := sorted(set(values) - task.known_labels):
        raise DataError(
            f"{path}: holds label values {unknown} that task {task.name} does not know; "
            f"correct the file, or say with --task or --labels what they mean"
        )
