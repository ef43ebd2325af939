"""From measurements to tidy rows, and from rows to statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from swin_unetr.batch import Failure
from swin_unetr.evaluation.measures.measure import Measurement
from swin_unetr.evaluation.metrics import METRICS, Metric
from swin_unetr.evaluation.report.results import ALL_STRUCTURES, Row
from swin_unetr.evaluation.statistics import Summary, mean_defined, summarise
from swin_unetr.tasks import Task


def tabulate(
    measurements: Sequence[Measurement],
    failures: Sequence[Failure],
    task: Task,
    metrics: Sequence[Metric] = METRICS,
    patients: Mapping[str, str] | None = None,
) -> tuple[Row, ...]:
    """Rows ordered by case, structure in the task's order, metric; a failed case has rows without values."""
    patient_of = (patients or {}).get
    rows = [
        Row(
            case=failure.case,
            structure=target.name,
            metric=metric.name,
            value=math.nan,
            status="failed",
            patient=patient_of(failure.case),
        )
        for failure in failures
        for target in task.targets
        for metric in metrics
    ]
    for measurement in measurements:
        for name, compared in measurement.structures.items():
            overlap = compared.overlap
            rows += [
                Row(
                    case=measurement.pair.case,
                    structure=name,
                    metric=metric.name,
                    value=metric.measure(compared),
                    status="both_empty" if overlap.both_empty else "evaluated",
                    reference_voxels=overlap.reference,
                    predicted_voxels=overlap.prediction,
                    reference_ml=overlap.reference * compared.voxel_ml,
                    predicted_ml=overlap.prediction * compared.voxel_ml,
                    patient=patient_of(measurement.pair.case),
                )
                for metric in metrics
            ]
    return tuple(sorted(rows, key=lambda row: row.case))


def summarise_rows(
    rows: Sequence[Row],
    task: Task,
    failed: Sequence[str],
    metrics: Sequence[Metric] = METRICS,
    patients: Mapping[str, str] | None = None,
) -> tuple[Summary, ...]:
    """Per metric: every structure in the task's order, then the mean over the structures of each case."""

    def of_metric(metric: Metric) -> list[Summary]:
        by_case: dict[str, list[float]] = {}
        by_structure: dict[str, list[Row]] = {target.name: [] for target in task.targets}
        for row in rows:
            if row.status != "failed" and row.metric == metric.name:
                by_case.setdefault(row.case, []).append(row.value)
                by_structure[row.structure].append(row)
        summaries = [
            summarise(
                {row.case: row.value for row in of_structure},
                structure=name,
                metric=metric,
                failed=failed,
                both_empty=sum(row.status == "both_empty" for row in of_structure),
                patients=patients,
            )
            for name, of_structure in by_structure.items()
        ]
        means = {case: mean_defined(values) for case, values in by_case.items()}
        mean = summarise(means, structure=ALL_STRUCTURES, metric=metric, failed=failed, patients=patients)
        return [*summaries, mean]

    return tuple(summary for metric in metrics for summary in of_metric(metric))
