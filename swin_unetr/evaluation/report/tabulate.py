"""From measurements to tidy rows, and from rows to statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from swin_unetr.batch import Failure
from swin_unetr.evaluation.inputs.looked_for import LookedFor
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
    looked_for: LookedFor | None = None,
) -> tuple[Row, ...]:
    """Rows ordered by case, structure in the task's order, metric.

    A failed case has rows without values, and so has a structure that was not looked for.
    """
    patient_of = (patients or {}).get
    names = [target.name for target in task.targets]
    unknown = {failure.case: (looked_for or LookedFor()).left_out(failure.case, names) for failure in failures}
    rows = [
        Row(
            case=failure.case,
            structure=name,
            metric=metric.name,
            value=math.nan,
            status="not_looked_for" if name in unknown[failure.case] else "failed",
            patient=patient_of(failure.case),
        )
        for failure in failures
        for name in names
        for metric in metrics
    ]
    for measurement in measurements:
        case = measurement.pair.case
        for name in names:
            if name in measurement.not_looked_for:
                rows += [_left_out(case, name, metric, patient_of(case)) for metric in metrics]
                continue
            compared = measurement.structures[name]
            overlap = compared.overlap
            rows += [
                Row(
                    case=case,
                    structure=name,
                    metric=metric.name,
                    value=metric.measure(compared),
                    status="both_empty" if overlap.both_empty else "evaluated",
                    reference_voxels=overlap.reference,
                    predicted_voxels=overlap.prediction,
                    reference_ml=overlap.reference * compared.voxel_ml,
                    predicted_ml=overlap.prediction * compared.voxel_ml,
                    patient=patient_of(case),
                )
                for metric in metrics
            ]
    return tuple(sorted(rows, key=lambda row: row.case))


def _left_out(case: str, structure: str, metric: Metric, patient: str | None) -> Row:
    return Row(
        case=case, structure=structure, metric=metric.name, value=math.nan, status="not_looked_for", patient=patient
    )


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
        left_out: dict[str, set[str]] = {target.name: set() for target in task.targets}
        for row in rows:
            if row.metric == metric.name and row.status == "not_looked_for":
                left_out[row.structure].add(row.case)
            elif row.metric == metric.name and row.status != "failed":
                by_case.setdefault(row.case, []).append(row.value)
                by_structure[row.structure].append(row)
        summaries = [
            summarise(
                {row.case: row.value for row in of_structure},
                structure=name,
                metric=metric,
                failed=[case for case in failed if case not in left_out[name]],
                not_looked_for=len(left_out[name]),
                both_empty=sum(row.status == "both_empty" for row in of_structure),
                patients=patients,
            )
            for name, of_structure in by_structure.items()
        ]
        means = {case: mean_defined(values) for case, values in by_case.items()}
        mean = summarise(means, structure=ALL_STRUCTURES, metric=metric, failed=failed, patients=patients)
        return [*summaries, mean]

    return tuple(summary for metric in metrics for summary in of_metric(metric))
