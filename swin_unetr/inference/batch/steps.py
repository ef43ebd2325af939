"""What is done with a case: read, segment, write; and where its seconds went."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swin_unetr.batch import Failure
from swin_unetr.datasets import Case
from swin_unetr.device import memory_errors_in_words
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.inference.batch.case_warnings import CaseWarnings
from swin_unetr.inference.batch.progress import PredictionProgress
from swin_unetr.inference.batch.queue import CaseQueue, Claim
from swin_unetr.inference.batch.record import (
    Records,
    clear_partial,
    labels_path,
    probabilities_path,
    record_path,
    source_files,
    uncertainty_path,
)
from swin_unetr.inference.batch.triage import Judge
from swin_unetr.inference.engine.memory_plan import MemoryPlan
from swin_unetr.inference.predictor import Predictor, Segmentation
from swin_unetr.machine import available, resident, size_in_words
from swin_unetr.trust.recorder import as_share
from swin_unetr.words import why_not_written
from transforms.geometry import Geometry
from transforms.io import read_header, read_stored, write_channels, write_labels
from transforms.labels import label_names
from transforms.prepare import Prepared
from transforms.prepare_memory import prepare_bytes


@dataclass
class Job:
    """A case on its way."""

    claim: Claim[Case]
    #: Its files as they were before they were read.
    sources: list[dict[str, Any]] = field(default_factory=list)
    #: Seconds by phase; phases of different cases overlap.
    seconds: dict[str, float] = field(default_factory=dict)
    #: Whether it is read while another case is computed, and how it will be computed.
    is_ahead: bool = False
    plan: MemoryPlan | None = None
    #: Further facts for its record.
    facts: dict[str, Any] = field(default_factory=dict)
    #: The phase that it is in, and the file that is being written.
    phase: str = ""
    file: Path | None = None

    @property
    def case(self) -> Case:
        """The case."""
        return self.claim.case

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Take the time of a phase."""
        self.phase = phase
        began = time.monotonic()
        yield
        self.seconds[phase] = round(time.monotonic() - began, 3)


@dataclass(frozen=True)
class CaseSteps:
    """The steps of a pipeline of cases; all that they share."""

    predictor: Predictor
    records: Records
    queue: CaseQueue[Case]
    progress: PredictionProgress
    #: Called in any thread with each case that ends, and with its failure or None.
    on_end: Callable[[Case, Failure | None], None]
    save_probabilities: bool
    warnings: CaseWarnings
    #: Decides how far each result is to be trusted; None if it is not asked for.
    judge: Judge | None = None
    uncertainty_map: bool = False

    def take(self, wait: bool) -> Job | None:
        """The next case of the queue."""
        claim = self.queue.take(wait=wait)
        return None if claim is None else Job(claim)

    def read(self, job: Job) -> Prepared:
        """Read a scan and prepare it for the network.

        Raises:
            DataError: it cannot be read, or not within the bound of memory.
        """
        predictor = self.predictor
        with job.timed("read"), memory_errors_in_words(predictor.compute.device):
            job.sources = source_files(job.case)
            if not job.is_ahead:
                self._check_reading_fits(job.case)
            volume = read_stored(job.case.images, channels=len(predictor.task.channels))
            self.warnings.check(job.case, volume)
            return predictor.prepare(volume)

    def _check_reading_fits(self, case: Case) -> None:
        """Refuse a scan that the memory cannot hold before any of it is read.

        Raises:
            DataError: says what it takes, and what there is.
        """
        wanted, limit = self._reading_bytes(case), self.predictor.max_memory
        on_gpu = self.predictor.compute.device.type == "cuda"  # there the limit is the GPU's
        if limit is not None and not on_gpu and (least := resident() + wanted) > limit:
            raise DataError(
                f"{case.images[0]}: reading it takes this process to {size_in_words(least)}, more than --max-memory "
                f"{size_in_words(limit)}; raise it, or crop the scan"
            )
        if wanted > (free := available()):
            raise DataError(
                f"{case.images[0]}: reading it takes {size_in_words(wanted)} and {size_in_words(free)} of memory are "
                "available; crop the scan, close other programs, or use a machine with more memory"
            )

    def _reading_bytes(self, case: Case) -> int:
        """The most that reading and preparing a scan takes, from its header."""
        geometry, channels, dtype = read_header(case.images, len(self.predictor.task.channels))
        preprocess = self.predictor.ensemble.preprocess
        return prepare_bytes(geometry, channels, dtype, preprocess, files=len(case.images))

    def may_read_ahead(self, job: Job, prepared: Prepared, following: Job) -> bool:
        """Whether the next scan fits into memory beside this one, and costs it no more windows and no precision."""
        job.plan = self._plan(prepared)
        try:
            beside = self._plan(prepared, reserve=self._reading_bytes(following.case))
        except SwinUnetrError:  # it does not fit, or its header is damaged, which its reading will report
            return False
        if beside.windows > job.plan.windows or beside.accumulate != job.plan.accumulate:
            return False
        job.plan, following.is_ahead = beside, True
        return True

    def _plan(self, prepared: Prepared, reserve: int = 0) -> MemoryPlan:
        return self.predictor.plan(prepared, with_probabilities=self.save_probabilities, reserve=reserve)

    def compute(self, job: Job, prepared: Prepared) -> tuple[Geometry, Segmentation]:
        """Segment a scan."""
        name, plan = job.case.id, job.plan or self._plan(prepared)
        self.progress.start(name, str(plan), len(plan.tiles))
        with job.timed("network"):
            result = self.predictor.segment_prepared(
                prepared,
                plan=plan,
                with_probabilities=self.save_probabilities,
                on_windows=lambda done, total: self.progress.windows(name, done, total),
            )
        windows = {"computed": result.windows_done, "skipped": result.windows_skipped}
        job.facts = {"plan": str(result.plan), "accumulate": result.plan.accumulate, "windows": windows}
        for note in result.notes:
            self.progress.note(f"{name}: {note}")
        if result.notes:
            job.facts["notes"] = list(result.notes)
        if result.removed:
            job.facts["removed_voxels"] = dict(result.removed)
        if self.judge is not None and result.signals is not None:
            trust = self.judge(result.signals, self.warnings.unlike(job.case))
            job.facts |= {"trust": trust.facts(), "judged_by": self.judge.key}
        return prepared.geometry, result

    def write(self, job: Job, done: tuple[Geometry, Segmentation]) -> None:
        """Write the labels, the probabilities where they are wanted, and last the record."""
        geometry, result = done
        output, case = self.records.output, job.case
        with job.timed("write"):
            clear_partial(output, case.id)
            record_path(output, case.id).unlink(missing_ok=True)  # of an earlier result, which is about to be replaced
            if result.probabilities is not None:
                job.file = probabilities_path(output, case.id)
                write_channels(job.file, result.probabilities, geometry)
            if self.uncertainty_map and result.uncertainty is not None:
                job.file = uncertainty_path(output, case.id)
                write_channels(job.file, as_share(result.uncertainty), geometry)
                job.facts["uncertainty"] = job.file.name
            job.file = labels_path(output, case.id)
            write_labels(job.file, result.labels, geometry, label_names(self.predictor.task))
        job.file = record_path(output, case.id)
        seconds = {"seconds": round(sum(job.seconds.values()), 3), "seconds_by_phase": job.seconds}
        facts = {"warnings": self.warnings.of(case), **job.facts, **seconds}
        self.records.write_case(case, job.sources, facts, with_probabilities=result.probabilities is not None)

    def end(self, job: Job, error: Exception | None) -> None:
        """Finish a case that is written or has failed; its lock is released only now."""
        failure = None if error is None else self._failure(job, error)
        phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in job.seconds.items())
        try:
            self.on_end(job.case, failure)
        finally:
            job.claim.release()
        self.progress.end(job.case.id, "failed" if failure else phases)  # the list at the end says why

    def _failure(self, job: Job, error: Exception) -> Failure:
        """Why a case failed, in one line; if this program is at fault, the traceback is shown too."""
        if isinstance(error, SwinUnetrError):
            return Failure(job.case.id, str(error))
        if isinstance(error, OSError) and job.phase == "write":
            return Failure(job.case.id, f"{job.file or self.records.output}: {why_not_written(error)}")
        self.progress.note("".join(traceback.format_exception(error)).rstrip())
        short = (str(error).strip().splitlines() or [""])[-1][:200]
        return Failure(job.case.id, f"{job.phase}: {type(error).__name__}: {short}; please report it as a fault")
