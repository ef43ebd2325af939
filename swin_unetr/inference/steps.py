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
from swin_unetr.errors import SwinUnetrError
from swin_unetr.inference.adapter import Predictor, Prepared
from swin_unetr.inference.device import memory_errors_in_words
from swin_unetr.inference.predictor import Segmentation
from swin_unetr.inference.progress import PredictionProgress
from swin_unetr.inference.queue import CaseQueue, Claim
from swin_unetr.inference.record import (
    Records,
    clear_partial,
    labels_path,
    probabilities_path,
    record_path,
    source_files,
)
from transforms.io import read_image, write_channels, write_labels
from transforms.labels import label_names


@dataclass
class Job:
    """A case on its way."""

    claim: Claim
    #: Its files as they were before they were read.
    sources: list[dict[str, Any]] = field(default_factory=list)
    #: Seconds by phase; phases of different cases overlap.
    seconds: dict[str, float] = field(default_factory=dict)
    #: What its record says beside.
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
    queue: CaseQueue
    progress: PredictionProgress
    save_probabilities: bool
    #: Told of each case that ends, in any thread, with none or why it failed.
    on_end: Callable[[Case, Failure | None], None]

    def take(self, wait: bool) -> Job | None:
        """The next case of the queue."""
        claim = self.queue.take(wait=wait)
        return None if claim is None else Job(claim)

    def read(self, job: Job) -> Prepared:
        """Read a scan and prepare it for the network."""
        with job.timed("read"), memory_errors_in_words(self.predictor.compute.device):
            job.sources = source_files(job.case)
            volume = read_image(job.case.images, channels=len(self.predictor.task.channels))
            return self.predictor.prepare(volume)

    def may_read_ahead(self, job: Job, prepared: Prepared, following: Job) -> bool:
        """Whether the next scan fits into memory beside this one."""
        return True

    def compute(self, job: Job, prepared: Prepared) -> tuple[Prepared, Segmentation]:
        """Segment a scan."""
        self.progress.start(job.case.id, "")
        with job.timed("network"):
            result = self.predictor.segment_prepared(
                prepared,
                with_probabilities=self.save_probabilities,
                on_windows=lambda done, total: self.progress.windows(job.case.id, done, total),
            )
        return prepared, result

    def write(self, job: Job, done: tuple[Prepared, Segmentation]) -> None:
        """Write the labels, the probabilities where they are wanted, and last the record."""
        prepared, result = done
        output, case = self.records.output, job.case
        with job.timed("write"):
            clear_partial(output, case.id)
            record_path(output, case.id).unlink(missing_ok=True)  # of an earlier result, which is about to go
            if result.probabilities is not None:
                job.file = probabilities_path(output, case.id)
                write_channels(job.file, result.probabilities, prepared.geometry)
            job.file = labels_path(output, case.id)
            write_labels(job.file, result.labels, prepared.geometry, label_names(self.predictor.task))
        job.file = record_path(output, case.id)
        seconds = {"seconds": round(sum(job.seconds.values()), 3), "seconds_by_phase": job.seconds}
        self.records.write_case(case, job.sources, {**job.facts, **seconds})

    def end(self, job: Job, error: Exception | None) -> None:
        """Leave a case that is written or has failed; its lock goes only now."""
        failure = None if error is None else self._failure(job, error)
        phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in job.seconds.items())
        try:
            self.on_end(job.case, failure)
        finally:
            job.claim.release()
        self.progress.end(job.case.id, failure.message if failure else phases)

    def _failure(self, job: Job, error: Exception) -> Failure:
        """Why a case failed, in one line; of a fault of this program the traceback is shown too."""
        if isinstance(error, SwinUnetrError):
            return Failure(job.case.id, str(error))
        if isinstance(error, OSError) and job.phase == "write":
            reason = error.strerror or error
            return Failure(
                job.case.id,
                f"{job.file or self.records.output}: cannot be written ({reason}); make room, or name another folder",
            )
        self.progress.note("".join(traceback.format_exception(error)).rstrip())
        short = (str(error).strip().splitlines() or [""])[-1][:200]
        return Failure(job.case.id, f"{job.phase}: {type(error).__name__}: {short}; please report it as a fault")
