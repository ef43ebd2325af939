"""The page of an evaluation: what results.json says, arranged for reading, and pictures of the worst cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from swin_unetr.errors import DataError
from swin_unetr.evaluation.inputs.cases import Pair
from swin_unetr.evaluation.inputs.images import read_shown
from swin_unetr.evaluation.measures.measure import read_pair
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.report.html_page import page
from swin_unetr.evaluation.report.pictures import COLOURS, CONFUSED, INVENTED, MISSED, case_pictures, nested_structures
from swin_unetr.evaluation.report.results import ALL_STRUCTURES, EvaluationResult
from swin_unetr.evaluation.statistics import mean_defined
from swin_unetr.evaluation.wording import scans_of_patients
from transforms.geometry import Volume
from transforms.resample import is_part_of, padded

#: Name of the page in a report's folder.
HTML_NAME = "report.html"


def report_page(result: EvaluationResult, values: Mapping[str, Any], texts: Mapping[str, str], pictures: int) -> str:
    """The page's text.

    Args:
        result: the evaluation.
        values: what results.json holds.
        texts: "policy" and "definitions" in words, "command".
        pictures: number of cases to draw, the worst first.
    """
    names = [target.name for target in result.reference_task.targets]
    metrics = result.metrics
    table = {(row.case, row.structure, row.metric): row for row in result.rows}
    cases = list(result.evaluated)

    def column(metric: Metric, name: str) -> list[float]:
        return [row.value if (row := table.get((case, name, metric.name))) else math.nan for case in cases]

    by_metric = {metric.name: {name: column(metric, name) for name in names} for metric in metrics}
    means = {metric: [mean_defined(of) for of in zip(*by.values(), strict=True)] for metric, by in by_metric.items()}
    first = metrics[0]
    by_name = {name: [table[case, name, first.name] for case in cases] for name in names}
    volumes = {name: [row.reference_ml for row in rows] for name, rows in by_name.items()}
    predicted = {name: [row.predicted_ml for row in rows] for name, rows in by_name.items()}
    data = {
        "all_structures": ALL_STRUCTURES,
        "lead": _lead(result, first),
        "metrics": [_described(metric) for metric in metrics],
        "structures": names,
        "cases": cases,
        "values": by_metric,
        "means": means,
        "volumes": volumes,
        "predicted_volumes": predicted,
        "nested": any(len(parts) > 1 for parts in nested_structures(result.reference_task).values()),
        "summary": values["summary"],
        "lesions": values.get("lesions") or [],
        "failures": values["cases"]["failed"],
        "notes": values["notes"],
        "files": values["files"],
        "sha256": values["sha256"],
        "patients": values["patients"],
        "provenance": values["provenance"],
        "inputs": [[key, str(value)] for key, value in result.inputs.items() if value is not None],
        **texts,
        "colours": COLOURS,
        "difference": (MISSED, INVENTED, CONFUSED),
        "pictures": _pictures(result, dict(zip(cases, means[first.name], strict=True)), first, pictures),
    }
    scripts = ["report.js"]
    if "trust" in values:
        data["trust"] = values["trust"]
        scripts.append("trust.js")
    return page("Segmentation report", "report.html", scripts, data, scoring=True)


def _lead(result: EvaluationResult, metric: Metric) -> str:
    number, failed = scans_of_patients(len(result.evaluated), result.number_of_patients), len(result.failures)
    summary = result.summary_of(metric=metric.name)
    interval = "" if math.isnan(summary.ci_low) else f" (95 % CI {summary.ci_low:.3f} to {summary.ci_high:.3f})"
    mean = "no value" if math.isnan(summary.mean) else f"{summary.mean:.3f}{interval}"
    counted = ""
    if failed and math.isfinite(summary.mean_with_failures):
        counted = f"; {summary.mean_with_failures:.3f} with every failed case counted as {metric.value_of_failure:g}"
    return f"{number} evaluated, {failed} failed. Mean {metric.title} over all structures: {mean}{counted}."


def _described(metric: Metric) -> dict[str, Any]:
    kind = getattr(metric, "kind", "overlap")
    bounded = math.isfinite(metric.highest)
    return {
        "name": metric.name,
        "title": metric.title,
        "higher_is_better": metric.higher_is_better,
        "kind": "overlap" if bounded and kind != "lesion" else kind,
        "failure": metric.value_of_failure,
        "digits": 3 if bounded else 2,
        "definition": getattr(metric, "definition", None),
    }


def _pictures(
    result: EvaluationResult, means: Mapping[str, float], metric: Metric, number: int
) -> dict[str, list[dict[str, Any]]]:
    """Pictures of the worst cases by the first metric; a case that cannot be drawn has none."""
    sign = 1 if metric.higher_is_better else -1
    worst = sorted((case for case in means if not math.isnan(means[case])), key=lambda case: (sign * means[case], case))
    drawn, left_out = {}, result.not_looked_for
    for case in worst[:number]:
        files = result.files.get(case)
        if files is None:
            continue
        pair = Pair(case, *(Path(str(files[side])) for side in ("prediction", "reference")))
        tasks = {"prediction_task": result.prediction_task, "reference_task": result.reference_task}
        try:
            labels = read_pair(pair, resample=case in result.resampled)
            scan = files.get("image")
            image = None if scan is None else read_shown(Path(scan), tasks.values())
        except DataError:
            continue  # it was readable a moment ago: a report without this picture is better than none
        prediction, reference = (Volume(side[None], labels.geometry) for side in (labels.prediction, labels.reference))
        if image is not None and image.geometry.difference(labels.geometry):
            image = padded(image, labels.geometry) if is_part_of(image.geometry, labels.geometry) else None
        planes = case_pictures(prediction, reference, image, **tasks, left_out=left_out.get(case, ()))
        drawn[case] = [asdict(plane) for plane in planes]
    return drawn
