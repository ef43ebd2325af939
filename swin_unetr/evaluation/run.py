"""Evaluates predictions against references: from two paths to a result, and its report on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from swin_unetr.batch import Failure
from swin_unetr.datasets.folds import select_cases
from swin_unetr.datasets.side_files import known_ids
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.evaluation.inputs.cases import find_predictions, find_references, pair_cases
from swin_unetr.evaluation.inputs.images import files_of, find_images
from swin_unetr.evaluation.inputs.label_tasks import TaskArgument, find_labels
from swin_unetr.evaluation.lesions.cases import find_rules
from swin_unetr.evaluation.lesions.rules import LESION_RULES
from swin_unetr.evaluation.measures.distances import (
    TOLERANCE_MM,
    DistancePolicy,
    EmptyDistance,
    Surface,
    implied_empty_distance,
)
from swin_unetr.evaluation.measures.measure import Measurement, Measuring, label_values, measure_all
from swin_unetr.evaluation.measures.overlap import EmptyPolicy
from swin_unetr.evaluation.metrics import choose_metrics, wants_lesions
from swin_unetr.evaluation.patients import find_patients
from swin_unetr.evaluation.report.markdown import JSON_NAME, PICTURES, REPORT_FILES, REPORT_KEYS, write_report
from swin_unetr.evaluation.report.results import EvaluationResult
from swin_unetr.evaluation.report.tabulate import summarise_rows, tabulate
from swin_unetr.files import keep_foreign
from swin_unetr.words import count


def evaluate(
    predictions: str | Path,
    references: str | Path,
    *,
    task: TaskArgument = None,
    output: str | Path | None = None,
    folds: str | Path | None = None,
    fold: int | None = None,
    cases: Iterable[str] | None = None,
    empty: EmptyPolicy = "nan",
    empty_distance: EmptyDistance | None = None,
    surface: Surface = "voxels",
    tolerance_mm: float | Mapping[str, float] = TOLERANCE_MM,
    metrics: Collection[str] | None = None,
    lesions: str | None = None,
    resample_prediction: bool = False,
    strict: bool = False,
    workers: int = 0,
    images: str | Path | None = None,
    patients: str | Path | None = None,
    pictures: int = PICTURES,
    on_case: Callable[[int, int], None] | None = None,
) -> EvaluationResult:
    """Compare label files with references, per case and structure.

    A case that is asked for and cannot be evaluated (no prediction or two, another geometry, a label value that the
    task does not know) becomes a failure: it is listed, counted beside every mean, and has no part in `Summary.mean`;
    `Summary.mean_with_failures` counts it as 0.

    Args:
        predictions: folder of `<case id>.nii.gz`, or a file.
        references: folder of label files, root of a data set (Decathlon, BTCV, BraTS, plain), or a file.
        task: a `Task`; a name (`btcv`, `brats`, `brats2021`, ...); a model folder, run folder, model.json or
            dataset.json; or label values by name. None takes what the predictions or the data set say of themselves.
        output: folder for results.json, results.csv, report.md and report.html, for BraTS brats.csv too; none writes
            nothing.
        folds: a split file; evaluates the validation cases of `fold` only.
        fold: which fold of `folds`.
        cases: evaluates these ids only. Without a selection every reference is asked for.
        empty: what Dice is where a structure is in neither mask: "nan", or 1 under "brats".
        empty_distance: what a distance in mm is where one mask is empty: "inf", "diagonal" of the scan, or
            "penalty" (374 mm, as the BraTS challenges). None is "penalty" under empty="brats" and "inf" otherwise.
        surface: what surfaces are made of: "voxels", as MONAI has it, or "area", as DeepMind has it.
        tolerance_mm: of the normalised surface Dice; one for all, or by structure (2 mm for those not named).
        metrics: names of the metrics; none takes all.
        lesions: rules by which lesions are told apart and scored (`lesion_rules.LESION_RULES`), or "none". None takes
            those of brats-evaluation for BraTS, unless `metrics` names none of lesions, and otherwise no lesions.
        resample_prediction: a prediction on another grid than its reference is put on it, nearest neighbour, and
            noted; otherwise its case fails.
        strict: a case that cannot be evaluated is an error, and nothing is written.
        workers: threads; the result does not depend on it.
        images: data set or folder of the scans, for the pictures; none takes those of the references' data set.
        patients: table with the columns case and patient. If None, the data set of the references says whose a scan is,
            a patients.csv beside them, or the names of the cases; a case whose patient is unknown counts as one.
        pictures: how many cases, the worst first, the page shows pictures of.
        on_case: called with the number of cases done and of all.

    Raises:
        ConfigError: arguments that do not fit each other, or no task to be found.
        DataError: a path that does not exist or holds nothing, or not one case in common; under `strict`, a failure.
    """
    for name, value, values in (("empty", empty, EmptyPolicy), ("surface", surface, Surface)):
        _require_one_of(name, value, values)
    empty_distance = implied_empty_distance(empty) if empty_distance is None else empty_distance
    _require_one_of("empty_distance", empty_distance, EmptyDistance)
    choose_metrics(metrics, empty_distance, surface)
    if workers < 0:
        raise ConfigError(f"workers: must not be negative, got {workers}")
    predictions, references = Path(predictions), Path(references)
    selected = select_cases(folds, fold, cases)
    predicted = find_predictions(predictions)
    if selected is None and not predictions.is_dir():
        selected = tuple(predicted.labels)
    elif selected is not None:
        selected = known_ids(selected, predicted.cases)
    found = find_references(references, predicted.cases.union(selected or ()))
    labels = find_labels(task, predictions, found.task)
    rules = find_rules(lesions, labels.task) if lesions is not None or wants_lesions(metrics) else None
    if metrics is not None and wants_lesions(metrics) and rules is None:
        raise ConfigError(f"lesions: metrics of lesions need rules; give --lesions {'|'.join(LESION_RULES)}")
    chosen = choose_metrics(metrics, empty_distance, surface, rules)
    pairing = pair_cases(predicted, found, selected)
    evaluated = {pair.case for pair in pairing.pairs}
    asked = sorted(evaluated.union(failure.case for failure in pairing.failures))
    own_table = Path(patients) if patients is not None else None
    known, of_patients = find_patients(own_table, references, found.patients, asked)
    scans, of_scans = find_images(Path(images) if images is not None else None, references, evaluated)
    if output is not None:
        _make_folder(Path(output))

    recent = any(pair.case.startswith("BraTS-") for pair in pairing.pairs)
    tasks = labels.tasks(label_values(pairing.pairs, workers) if labels.told_from_data else (), recent=recent)
    policy = DistancePolicy(
        **_tolerances(tolerance_mm, [target.name for target in tasks.reference.targets]),
        empty=empty,
        empty_distance=empty_distance,
        surface=surface,
    )
    measuring = Measuring(
        tasks=tasks,
        policy=policy,
        surfaces=any(metric.kind == "surface" for metric in chosen),
        lesions=rules,
        resample=resample_prediction,
    )
    measurements, failures = measure_all(pairing.pairs, measuring, workers, on_case)
    failures = sorted([*pairing.failures, *failures], key=lambda failure: failure.case)
    if strict and failures:
        raise _strict_error(failures)
    rows = tabulate(measurements, failures, tasks.reference, chosen, known)
    result = EvaluationResult(
        rows=rows,
        summary=summarise_rows(rows, tasks.reference, [failure.case for failure in failures], chosen, known),
        patients=known,
        failures=tuple(failures),
        evaluated=tuple(measurement.pair.case for measurement in measurements),
        notes=(*pairing.notes, *of_patients, *_notes(measurements), *of_scans),
        prediction_task=tasks.prediction,
        reference_task=tasks.reference,
        empty=empty,
        metrics=chosen,
        distances=policy,
        lesion_rules=rules,
        lesions={of.pair.case: of.lesions for of in measurements} if rules is not None else {},
        inputs={
            "predictions": str(predictions.absolute()),
            "references": str(references.absolute()),
            "task": labels.source,
            "folds": str(Path(folds).absolute()) if folds is not None else None,
            "fold": fold,
            "patients": str(Path(patients).absolute()) if patients is not None else None,
            "cases": list(selected) if cases is not None and selected is not None else None,
        },
        files=files_of((measurement.pair for measurement in measurements), scans),
        sha256={measurement.pair.case: measurement.sha256 for measurement in measurements},
        resampled={of.pair.case: of.resampled for of in measurements if of.resampled is not None},
    )
    if output is not None:
        write_report(result, Path(output), pictures)
    return result


def _make_folder(path: Path) -> None:
    """Make the folder of the report before the work rather than after it; no file of the user is replaced there."""
    keep_foreign(path, REPORT_FILES, record=JSON_NAME, keys=REPORT_KEYS)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output: {path} cannot be made a folder ({error.strerror}); name another one") from error


def _require_one_of(name: str, value: str, values: Any) -> None:
    if value not in get_args(values):
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(get_args(values))}")


def _tolerances(tolerance_mm: float | Mapping[str, float], names: list[str]) -> dict[str, Any]:
    """The fields of `DistancePolicy` about tolerances."""
    by_name = dict(tolerance_mm) if isinstance(tolerance_mm, Mapping) else {}
    default = TOLERANCE_MM if isinstance(tolerance_mm, Mapping) else tolerance_mm
    if unknown := sorted(set(by_name) - set(names)):
        raise ConfigError(f"tolerance_mm: no structure {unknown[0]!r}; there are {', '.join(names)}")
    if min([default, *by_name.values()]) < 0:
        raise ConfigError("tolerance_mm: must not be negative")
    return {"tolerances_mm": by_name, "default_tolerance_mm": default}


def _notes(measurements: list[Measurement]) -> Iterator[str]:
    if resampled := [f"{of.pair.case} ({of.resampled})" for of in measurements if of.resampled is not None]:
        yield (
            f"predictions resampled to the grid of their reference, nearest neighbour ({len(resampled)}; own grid and "
            f"the reference's): {', '.join(resampled)}"
        )
    if odd := [f"{of.pair.case} ({'; '.join(of.notes)})" for of in measurements if of.notes]:
        yield f"cases whose files are odd ({len(odd)}): {', '.join(odd)}"


def _strict_error(failures: list[Failure]) -> DataError:
    first = failures[0]
    return DataError(f"{count(len(failures), 'case')} could not be evaluated; the first, {first.case}: {first.message}")
