"""Evaluates predictions against references: validate, pair, measure, result; and the report on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from swin_unetr.batch import Failure
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.evaluation.inputs.find import Inputs, Selection, find_inputs
from swin_unetr.evaluation.inputs.images import files_of
from swin_unetr.evaluation.inputs.label_tasks import TaskArgument
from swin_unetr.evaluation.inputs.options import Options, check_options
from swin_unetr.evaluation.measures.distances import TOLERANCE_MM, EmptyDistance, Surface
from swin_unetr.evaluation.measures.measure import Measurement, Measuring, measure_all
from swin_unetr.evaluation.measures.overlap import EmptyPolicy
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
    task does not know) becomes a failure: it is listed, counted beside every mean, and is not in `Summary.mean`;
    `Summary.mean_with_failures` counts it as 0.

    A structure that was not looked for in a case is left out there, and counted. The data set of the references says it
    (`datasets.labelled`, the rule of its `task.yaml`); for a folder of label files, the tables and the `task.yaml` in
    this folder or in the one above it.

    Args:
        predictions: folder of `<case id>.nii.gz`, or a file.
        references: folder of label files, root of a data set (Decathlon, BTCV, BraTS, plain), or a file.
        task: a `Task`; a name (`btcv`, `brats`, `brats2021`, ...); a model folder, run folder, model.json or
            dataset.json; or label values by name. If None, what the predictions or the data set say.
        output: folder for results.json, results.csv, report.md and report.html, for BraTS brats.csv too. If None,
            nothing is written.
        folds: a split file; evaluates the validation cases of `fold` only.
        fold: which fold of `folds`.
        cases: evaluates these ids only. Without a selection every reference is asked for.
        empty: what Dice is where a structure is in neither mask: "nan", or 1 under "brats".
        empty_distance: what a distance in mm is where one mask is empty: "inf", "diagonal" of the scan, or
            "penalty" (374 mm, as the BraTS challenges). If None, "penalty" under empty="brats", else "inf".
        surface: what surfaces are made of: "voxels", as MONAI has it, or "area", as DeepMind has it.
        tolerance_mm: of the normalised surface Dice; one for all, or by structure (2 mm for those not named).
        metrics: names of the metrics. If None, all.
        lesions: rules that separate and score lesions (`evaluation.lesions.rules.LESION_RULES`), or "none". If None,
            those of brats-evaluation for BraTS, unless `metrics` names none of lesions, and otherwise no lesions.
        resample_prediction: if True, a prediction on another grid is resampled to its reference's, nearest neighbour,
            and noted; if False, its case fails.
        strict: a case that cannot be evaluated is an error, and nothing is written.
        workers: threads; the result does not depend on it.
        images: data set or folder of the scans, for the pictures. If None, those of the references' data set.
        patients: table with the columns case and patient. If None, the data set of the references, a patients.csv
            beside them, or the names of the cases say it; a case whose patient is unknown counts as one.
        pictures: how many cases, the worst first, the page shows pictures of.
        on_case: called with the number of cases done and of all.

    Raises:
        ConfigError: arguments that do not fit each other, or no task is found.
        DataError: a path that does not exist or holds nothing, or not one case in common; under `strict`, a failure.
    """
    options = check_options(
        empty=empty,
        empty_distance=empty_distance,
        surface=surface,
        tolerance_mm=tolerance_mm,
        metrics=metrics,
        lesions=lesions,
        resample_prediction=resample_prediction,
        workers=workers,
    )
    selection = Selection(folds=folds, fold=fold, cases=cases)
    inputs = find_inputs(Path(predictions), Path(references), selection, options, task, patients, images)
    if output is not None:
        _make_folder(Path(output))
    measurements, failures = _measure(inputs, options, on_case)
    if strict and failures:
        raise _strict_error(failures)
    result = _result(inputs, options, measurements, failures)
    if output is not None:
        write_report(result, Path(output), pictures)
    return result


def _measure(
    inputs: Inputs, options: Options, on_case: Callable[[int, int], None] | None
) -> tuple[list[Measurement], list[Failure]]:
    """Measure every pair of files; failures are those of pairing and of measuring, by case."""
    measuring = Measuring(
        tasks=inputs.tasks,
        policy=options.distances(target.name for target in inputs.tasks.reference.targets),
        surfaces=any(metric.kind == "surface" for metric in inputs.metrics),
        lesions=inputs.lesion_rules,
        resample=options.resample_prediction,
        looked_for=inputs.looked_for,
    )
    measurements, failures = measure_all(inputs.pairing.pairs, measuring, options.workers, on_case)
    return measurements, sorted([*inputs.pairing.failures, *failures], key=lambda failure: failure.case)


def _result(
    inputs: Inputs, options: Options, measurements: list[Measurement], failures: list[Failure]
) -> EvaluationResult:
    reference, metrics, patients = inputs.tasks.reference, inputs.metrics, inputs.patients
    rows = tabulate(measurements, failures, reference, metrics, patients, inputs.looked_for)
    return EvaluationResult(
        rows=rows,
        summary=summarise_rows(rows, reference, [failure.case for failure in failures], metrics, patients),
        patients=patients,
        failures=tuple(failures),
        evaluated=tuple(measurement.pair.case for measurement in measurements),
        notes=(*inputs.pairing.notes, *inputs.patient_notes, *_notes(measurements), *inputs.image_notes),
        prediction_task=inputs.tasks.prediction,
        reference_task=reference,
        empty=options.empty,
        metrics=metrics,
        distances=options.distances(target.name for target in reference.targets),
        lesion_rules=inputs.lesion_rules,
        lesions={of.pair.case: of.lesions for of in measurements} if inputs.lesion_rules is not None else {},
        inputs=inputs.sources,
        files=files_of((measurement.pair for measurement in measurements), inputs.images),
        sha256={measurement.pair.case: measurement.sha256 for measurement in measurements},
        resampled={of.pair.case: of.resampled for of in measurements if of.resampled is not None},
    )


def _make_folder(path: Path) -> None:
    """Make the folder of the report before the work rather than after it; no file of the user is replaced there."""
    keep_foreign(path, REPORT_FILES, record=JSON_NAME, keys=REPORT_KEYS)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output: {path} cannot be made a folder ({error.strerror}); name another one") from error


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
