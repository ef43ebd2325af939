"""Prediction of a batch of cases: from paths to label files and their records."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from swin_unetr.batch import Failure
from swin_unetr.datasets import Case
from swin_unetr.datasets.folds import select_cases
from swin_unetr.errors import DataError
from swin_unetr.inference.batch.case_warnings import CaseWarnings
from swin_unetr.inference.batch.inputs import find_inputs
from swin_unetr.inference.batch.output import check_method, check_output
from swin_unetr.inference.batch.parts import Part, check_part, deal
from swin_unetr.inference.batch.pipeline import run_pipeline
from swin_unetr.inference.batch.presence import has_locks, registered
from swin_unetr.inference.batch.progress import PredictionProgress
from swin_unetr.inference.batch.queue import CaseQueue
from swin_unetr.inference.batch.record import Records, labels_path, record_path
from swin_unetr.inference.batch.steps import CaseSteps
from swin_unetr.inference.batch.triage import (
    Judge,
    PredictionReport,
    find_calibrations,
    how_to_calibrate,
    trusts_in,
    write_triage,
)
from swin_unetr.inference.engine.models import ModelArgument
from swin_unetr.inference.predictor import Predictor
from swin_unetr.words import why_not_written

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from swin_unetr.inference.options import PredictorOptions


def predict(
    models: ModelArgument | Sequence[ModelArgument],
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    *,
    save_probabilities: bool = False,
    layout: str = "auto",
    folds: str | Path | None = None,
    fold: int | None = None,
    cases: Iterable[str] | None = None,
    channels: Sequence[str] | None = None,
    overwrite: bool = False,
    beside_others: bool = False,
    part: Part | None = None,
    progress: bool = True,
    trust: bool | None = None,
    uncertainty_map: bool = False,
    **options: Unpack[PredictorOptions],
) -> PredictionReport:
    """Segment scans, and write `<case id>.nii.gz` on each scan's own grid, with `<case id>.json` beside it.

    A case that cannot be done becomes a failure of the report, and the others go on. Existing results that were made
    from the same files in the same way are kept and count as done; results of another method, or one that is running
    there, are an error. Several processes may be given the same cases and output: they share them, or each does its
    part. `predictions.json` in `output` records the run.

    Args:
        models: model folders, run folders (their `best/`), cross-validations (all of their folds) or loaded models;
            the probabilities of several are averaged.
        inputs: image files, folders of them, roots of data sets.
        output: folder of the results; a file there that `predict` did not write is never replaced.
        save_probabilities: whether to write `<case id>_probabilities.nii.gz` too: 4-D, float32.
        layout: of the folders among the inputs: "auto", or one of `swin_unetr.datasets.LAYOUTS`.
        folds: a split file; segments the validation cases of `fold` only.
        fold: which fold of `folds`.
        cases: segments these ids only; names of the cases' files are understood.
        channels: what the channels of the inputs are, by the names of the model's, in the order of their files. If
            None, their own names count.
        overwrite: replaces existing results, of this method or another.
        beside_others: whether other cases there may have results of another method, as those of other folds have.
        part: does only the cases of part K of N, given as (K, N) with K from 1. If None, all of them.
        progress: whether to show it, on standard error.
        trust: whether to say how sure each result is: in its record, and in triage.csv, the worst case first. If None,
            where a model's folder holds a calibration (`swin-unetr calibrate`).
        uncertainty_map: whether to write `<case id>_uncertainty.nii.gz` too: the entropy of the probabilities, 0 to 1.
        options: device, precision, backend, overlap, roi_size, weights, tta, batch_size, max_memory, accumulate,
            skip_empty, postprocess, cache, as `Predictor` explains them.

    Returns:
        The cases done, and the failures.

    Raises:
        ConfigError: arguments that are not available or do not go together.
        CheckpointError: a model that cannot be used.
        DataError: the split file cannot be read, or the folder of the results cannot be written to.
    """
    started = time.monotonic()
    paths = [Path(path) for path in ([inputs] if isinstance(inputs, (str, Path)) else inputs)]
    selected = select_cases(folds, fold, cases)
    predictor = Predictor(models, **options, signals=trust)
    judge, of_calibration = find_calibrations(predictor.ensemble)
    trusting = judge.is_calibrated if trust is None else trust
    predictor.collect_signals(trusting or uncertainty_map, judge.temperature)
    part = None if part is None else check_part(part)
    found = find_inputs(paths, predictor.task, layout=layout, selected=selected, channels=channels)
    mine = found.cases if part is None else deal(found.cases, part)
    notes = [*found.notes, *([] if part is None else [_of_part(part, len(mine), len(found.cases))])]
    if trusting:
        notes += of_calibration if judge.is_calibrated else [*of_calibration, how_to_calibrate(predictor.ensemble)]
    check_output(
        Path(output),
        mine,
        with_probabilities=save_probabilities,
        with_uncertainty=uncertainty_map,
        with_triage=trusting,
        part=part,
    )
    records = Records(Path(output), predictor.ensemble, predictor.compute, paths, predictor.options(), part)
    outputs = _Outputs(save_probabilities, uncertainty_map, judge if trusting else None)
    run = _Run(predictor, records, started, outputs, overwrite, beside_others)
    run.report.failures += map(run.with_earlier, found.failures)
    if found.cases:
        if progress and notes:
            print(*notes, sep="\n", file=sys.stderr, flush=True)
        run.do(mine, part, shown=progress)
    return run.report


def _of_part(part: Part, number: int, total: int) -> str:
    return f"part {part[0]} of {part[1]}: {number} of {total} cases; --part 1/1 segments all of them"


@dataclass(frozen=True)
class _Outputs:
    """What is written beside the labels."""

    probabilities: bool
    uncertainty: bool
    judge: Judge | None


class _Run:
    """One run over cases: existing results, cases to do, and the report."""

    def __init__(
        self,
        predictor: Predictor,
        records: Records,
        started: float,
        outputs: _Outputs,
        overwrite: bool,
        beside_others: bool,
    ) -> None:
        self.report = PredictionReport()
        self._predictor = predictor
        self._records = records
        self._started = started
        self._outputs = outputs
        self._beside_others = beside_others
        #: With `overwrite`: when the records that were found were written; another process may renew them meanwhile.
        self._before: dict[str, int] | None = {} if overwrite else None
        self._lock = Lock()

    def do(self, cases: Sequence[Case], part: Part | None, *, shown: bool) -> None:
        """Segment the cases that have no results yet.

        Raises:
            ConfigError: the folder is another method's, or its disk has no locks.
        """
        output = self._records.output
        notes: list[str] = []

        def begin() -> None:
            if not self._beside_others:
                notes.extend(check_method(self._records, cases, overwrite=self._before is not None))
            self._records.will_write(
                cases, with_probabilities=self._outputs.probabilities, with_uncertainty=self._outputs.uncertainty
            )
            self._remember("running")

        with _write_errors(output):
            locks = has_locks(output, part)
        if not locks:
            begin()
        with registered(self._records, begin) if locks else nullcontext():
            self._do(cases, notes, locks, shown)

    def _do(self, cases: Sequence[Case], notes: Sequence[str], locks: bool, shown: bool) -> None:
        if self._before is not None:
            self._before = {case.id: self._written_at(case) for case in cases}
        todo = []
        for case in cases:
            if not self._is_done(case):
                todo.append(case)
                continue
            self.report.done.append(case.id)
            if earlier := self._records.warnings_of(case):
                self.report.warnings[case.id] = earlier
        try:
            with PredictionProgress(len(todo), shown=shown) as progress:
                progress.note(self._predictor.compute.describe())
                for note in notes:
                    progress.note(note)
                if kept := len(cases) - len(todo):
                    progress.note(f"{kept} of {len(cases)} results exist already and are kept; --overwrite renews them")
                self._segment(todo, progress, locks)
        except BaseException:
            with suppress(DataError):
                self._remember("stopped")
            raise
        self.report.done.sort(key=[case.id for case in cases].index)
        if self._outputs.judge is not None:
            found = trusts_in(self._records.output, self._outputs.judge.key)
            self.report.trust = {case: found[case] for case in self.report.done if case in found}
            with _write_errors(self._records.output):
                write_triage(self._records.output, found)
        self._remember("finished")

    def _segment(self, cases: Sequence[Case], progress: PredictionProgress, locks: bool) -> None:
        def done_elsewhere(case: Case) -> None:
            self._end(case, None)
            progress.end(case.id, "done by another process")

        warnings = CaseWarnings(self._predictor.ensemble, progress.note, self.report.warnings)
        with CaseQueue(self._records.output, cases, self._is_done, done_elsewhere, locks=locks) as queue:
            run_pipeline(
                CaseSteps(
                    self._predictor,
                    self._records,
                    queue,
                    progress,
                    self._end,
                    save_probabilities=self._outputs.probabilities,
                    warnings=warnings,
                    judge=self._outputs.judge,
                    uncertainty_map=self._outputs.uncertainty,
                )
            )
        warnings.close()

    def _end(self, case: Case, failure: Failure | None) -> None:
        """Note the outcome of a case; in any thread."""
        with self._lock:
            if failure is None:
                self.report.done.append(case.id)
            else:
                self.report.failures.append(self.with_earlier(failure))

    def with_earlier(self, failure: Failure) -> Failure:
        """A failure that also names a result of an earlier run, which is kept and must not be taken for this run's."""
        earlier = labels_path(self._records.output, failure.case)
        if not earlier.exists():
            return failure
        return replace(failure, message=f"{failure.message}; the existing {earlier.name} is of an earlier run")

    def _is_done(self, case: Case) -> bool:
        if self._before is not None and self._written_at(case) == self._before[case.id]:
            return False
        return self._records.is_done(
            case,
            with_probabilities=self._outputs.probabilities,
            with_uncertainty=self._outputs.uncertainty,
            judged_by=None if self._outputs.judge is None else self._outputs.judge.key,
        )

    def _written_at(self, case: Case) -> int:
        """When the record of a case was written, in nanoseconds; 0 if it does not exist."""
        try:
            return record_path(self._records.output, case.id).stat().st_mtime_ns
        except OSError:
            return 0

    def _remember(self, status: str) -> None:
        """Write the record of the run.

        Raises:
            DataError: it cannot be written.
        """
        with _write_errors(self._records.output):
            self._records.write_run(status, self.report, time.monotonic() - self._started)


@contextmanager
def _write_errors(output: Path) -> Iterator[None]:
    """Say in one line that the folder of the results cannot be written.

    Raises:
        DataError: in place of the error.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{output}: {why_not_written(error)}") from error
