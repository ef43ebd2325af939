"""Prediction of a batch of cases: from paths to label files and their records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from swin_unetr.batch import BatchReport, Failure
from swin_unetr.config import Triple
from swin_unetr.datasets import Case
from swin_unetr.datasets.folds import select_cases
from swin_unetr.errors import SwinUnetrError
from swin_unetr.inference.inputs import check_output, find_inputs
from swin_unetr.inference.models import ModelArgument
from swin_unetr.inference.predictor import OnWindows, Predictor
from swin_unetr.inference.progress import PredictionProgress
from swin_unetr.inference.record import Records, labels_path, probabilities_path, record_path
from transforms.io import read_image, write_channels, write_labels
from transforms.labels import label_names


def predict(
    models: ModelArgument | Sequence[ModelArgument],
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    overlap: float | None = None,
    roi_size: Triple | None = None,
    tta: bool | None = None,
    batch_size: int | None = None,
    save_probabilities: bool = False,
    device: str = "auto",
    precision: str = "auto",
    layout: str = "auto",
    folds: str | Path | None = None,
    fold: int | None = None,
    cases: Iterable[str] | None = None,
    skip_existing: bool = False,
    progress: bool = True,
) -> BatchReport:
    """Segment scans, and write `<case id>.nii.gz` on each scan's own grid, with `<case id>.json` beside it.

    A case that cannot be done becomes a failure of the report, and the others go on. `predictions.json` in `output`
    records the run.

    Args:
        models: model folders, run folders (their `best/`) or loaded models; the probabilities of several are averaged.
        inputs: image files, folders of them, roots of data sets.
        output: folder of the results; a file there that `predict` did not write is never replaced.
        overlap: share of a window that overlaps its neighbour; none takes each model's own.
        roi_size: size of a window in voxels X, Y, Z; none takes each model's own.
        tta: whether to average over mirror images along the axes that the model's training mirrored; none takes
            each model's own.
        batch_size: windows in one pass of the network; none takes each model's own.
        save_probabilities: whether to write `<case id>_probabilities.nii.gz` too: 4-D, float32.
        device: "auto" (the first CUDA GPU, else the CPU), "cpu", "cuda", "cuda:N" or "mps".
        precision: "float32", "bfloat16", or "auto": bfloat16 on a GPU that computes in it, else float32.
        layout: of the folders among the inputs: "auto", or one of `swin_unetr.datasets.LAYOUTS`.
        folds: a split file; segments the validation cases of `fold` only.
        fold: which fold of `folds`.
        cases: segments these ids only.
        skip_existing: leaves cases whose results stand already, made in the same way; they count as done.
        progress: whether to show it, on standard error.

    Returns:
        The cases done, and the failures.

    Raises:
        ConfigError: arguments that cannot be had or do not fit each other.
        CheckpointError: a model that cannot be used.
        DataError: the split file cannot be read.
    """
    started = time.monotonic()
    paths = [Path(path) for path in ([inputs] if isinstance(inputs, (str, Path)) else inputs)]
    output = Path(output)
    selected = select_cases(folds, fold, cases)
    predictor = Predictor(
        models,
        device=device,
        precision=precision,
        overlap=overlap,
        roi_size=roi_size,
        tta=tta,
        batch_size=batch_size,
    )
    found = find_inputs(paths, predictor.task, layout=layout, selected=selected)
    check_output(output, found.cases)
    records = Records(output, predictor.ensemble, predictor.compute, paths)
    report = BatchReport(failures=found.failures)
    if not found.cases:
        return report

    def remember(status: str) -> None:
        records.write_run(status, report, time.monotonic() - started)

    todo = []
    for case in found.cases:
        done = skip_existing and records.is_done(case, with_probabilities=save_probabilities)
        report.done.append(case.id) if done else todo.append(case)
    remember("running")
    try:
        with PredictionProgress(len(todo), shown=progress) as shown:
            for case in todo:
                shown.start(case.id)
                outcome = _try_case(case, predictor, records, shown.windows, save_probabilities)
                if isinstance(outcome, Failure):
                    report.failures.append(outcome)
                else:
                    report.done.append(case.id)
                shown.end(case.id, outcome.message if isinstance(outcome, Failure) else f"{outcome:.1f} s")
    except BaseException:
        remember("stopped")
        raise
    remember("finished")
    return report


def _try_case(
    case: Case, predictor: Predictor, records: Records, on_windows: OnWindows, save_probabilities: bool
) -> float | Failure:
    """Segment a case and write its files; gives the seconds it took, or why it failed."""
    began = time.monotonic()
    output = records.output
    try:
        volume = read_image(case.images, channels=len(predictor.task.channels))
        result = predictor.segment(volume, with_probabilities=save_probabilities, on_windows=on_windows)
        record_path(output, case.id).unlink(missing_ok=True)  # of an earlier result, which is about to go
        if result.probabilities is not None:
            write_channels(probabilities_path(output, case.id), result.probabilities, volume.geometry)
        write_labels(labels_path(output, case.id), result.labels, volume.geometry, label_names(predictor.task))
        seconds = time.monotonic() - began
        records.write_case(case, seconds)
    except SwinUnetrError as error:
        return Failure(case.id, str(error))
    except OSError as error:
        where = error.filename2 or output
        return Failure(case.id, f"{where}: cannot be written ({error.strerror or error}); make room, or name another")
    return seconds
