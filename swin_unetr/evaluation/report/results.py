"""What an evaluation gives: tidy rows, statistics, and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swin_unetr.batch import Failure
from swin_unetr.evaluation.lesions.cases import StructureLesions
from swin_unetr.evaluation.lesions.rules import LesionRules
from swin_unetr.evaluation.measures.distances import DistancePolicy
from swin_unetr.evaluation.measures.overlap import EmptyPolicy
from swin_unetr.evaluation.metrics import METRICS, Metric
from swin_unetr.evaluation.scoring import patient_indices
from swin_unetr.evaluation.statistics import Summary
from swin_unetr.tasks import Task

#: Name of the summary over the structures' mean of each case.
ALL_STRUCTURES = "mean of structures"

Status = Literal["evaluated", "both_empty", "failed", "not_looked_for"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one structure of one case; with the volumes, because metrics depend on them."""

    case: str
    structure: str
    metric: str
    #: NaN for a failed case, for what was not looked for, and for a structure in neither mask under the policy "nan".
    value: float
    #: "both_empty": the structure is in neither mask. "failed": nothing could be measured; see the failures.
    #: "not_looked_for": the reference does not say whether the structure is there.
    status: Status
    #: None for a failed case and for what was not looked for, as are the volumes.
    reference_voxels: int | None = None
    predicted_voxels: int | None = None
    reference_ml: float | None = None
    predicted_ml: float | None = None
    #: If None, it is not known.
    patient: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """An evaluation: `rows` for machines, `summary` for people, `failures` for both."""

    #: Ordered by case, structure, metric; failed cases have rows too, with the status "failed".
    rows: tuple[Row, ...]
    #: Per metric: each structure in the task's order, then the mean of the structures of each case.
    summary: tuple[Summary, ...]
    #: Cases asked for that could not be evaluated, and why. They are not in `Summary.mean`.
    failures: tuple[Failure, ...]
    #: Cases that were evaluated, sorted.
    evaluated: tuple[str, ...]
    #: Things to know that are no failures, one line each.
    notes: tuple[str, ...]
    #: How the label values of each side were read.
    prediction_task: Task
    reference_task: Task
    empty: EmptyPolicy
    #: What was evaluated: paths and selection, as plain values.
    inputs: Mapping[str, Any]
    #: Patient by case, also of failed ones, where it is known: the unit of means and intervals.
    patients: Mapping[str, str] = field(default_factory=dict)
    #: Paths "image" (or None), "reference" and "prediction" of every evaluated case.
    files: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    #: SHA-256 of the label files "prediction" and "reference" of every evaluated case.
    sha256: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: How the grid of the prediction differed from the reference's, by case, where it was resampled.
    resampled: Mapping[str, str] = field(default_factory=dict)
    #: The metrics of the rows.
    metrics: tuple[Metric, ...] = METRICS
    #: What a lesion is. If None, lesions were not asked for.
    lesion_rules: LesionRules | None = None
    #: Lesions by case and structure.
    lesions: Mapping[str, Mapping[str, StructureLesions]] = field(default_factory=dict)
    #: Tolerances, and what distances are where one mask is empty.
    distances: DistancePolicy = field(default_factory=DistancePolicy)

    @property
    def number_of_patients(self) -> int:
        """Patients of the evaluated cases; a case without one counts as a patient alone."""
        return len(set(patient_indices(self.evaluated, self.patients).tolist()))

    @property
    def not_looked_for(self) -> dict[str, tuple[str, ...]]:
        """Structures that were not looked for, by case, of the cases that have some."""
        found: dict[str, dict[str, None]] = {}
        for row in self.rows:
            if row.status == "not_looked_for":
                found.setdefault(row.case, {})[row.structure] = None
        return {case: tuple(names) for case, names in found.items()}

    @property
    def exit_code(self) -> int:
        """0 when every case that was asked for was evaluated, 1 otherwise."""
        return 1 if self.failures else 0

    def summary_of(self, structure: str = ALL_STRUCTURES, metric: str = "dice") -> Summary:
        """The statistics of one structure, or of the mean over structures.

        Raises:
            KeyError: no such structure or metric.
        """
        for summary in self.summary:
            if (summary.structure, summary.metric) == (structure, metric):
                return summary
        raise KeyError((structure, metric))
