"""Reading the next case, the network, and writing the last case at the same time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import torch

Job = TypeVar("Job")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


class Steps(Protocol[Job, Loaded, Result]):
    """What is done with a job. A step that raises an `Exception` ends its job alone."""

    def take(self, wait: bool) -> Job | None:
        """The next job, or None; with `wait`, also waits for jobs that others hold."""

    def read(self, job: Job) -> Loaded:
        """Load a job; in a thread of its own."""

    def may_read_ahead(self, job: Job, loaded: Loaded, following: Job) -> bool:
        """Whether a second job may be loaded while the first, which is loaded, is computed."""

    def compute(self, job: Job, loaded: Loaded) -> Result:
        """Compute; in the thread of the caller."""

    def write(self, job: Job, result: Result) -> None:
        """Write what was computed; in a thread of its own."""

    def end(self, job: Job, error: Exception | None) -> None:
        """Called once for each job, in any thread: with None if it was written, else with what went wrong."""


def run_pipeline(steps: Steps[Job, Loaded, Result]) -> None:
    """Do all jobs: at most one is read ahead, one computed, and one written at a time.

    An interruption of the calling thread waits for the writing that is under way, and is passed on.
    """
    _Pipeline(steps).run()


class _Pipeline(Generic[Job, Loaded, Result]):
    def __init__(self, steps: Steps[Job, Loaded, Result]) -> None:
        self._steps = steps
        self._reading: Future[Loaded] | None = None
        self._writing: Future[None] | None = None

    def run(self) -> None:
        reader, writer = (ThreadPoolExecutor(1, initializer=_leave_cores_to_the_network) for _ in range(2))
        try:
            job = self._steps.take(True)
            while job is not None:
                following = self._advance(job, reader, writer)
                job = following if following is not None else self._steps.take(True)
            self._wait_for_writing()
        finally:
            reader.shutdown(wait=False, cancel_futures=True)
            writer.shutdown(wait=True)
            reader.shutdown(wait=True)
            torch.set_num_threads(torch.get_num_threads())  # later threads take the count that was set last

    def _advance(self, job: Job, reader: ThreadPoolExecutor, writer: ThreadPoolExecutor) -> Job | None:
        """Bring a job to its writing; gives the job that was taken, and perhaps read, meanwhile.

        A function of its own, so that nothing of a job outlives it in a local variable.
        """
        steps = self._steps
        reading, self._reading = self._reading or reader.submit(steps.read, job), None
        try:
            loaded = reading.result()
        except Exception as error:
            steps.end(job, error)
            return None
        del reading  # it holds what was loaded
        following = steps.take(False)
        try:
            if following is not None and steps.may_read_ahead(job, loaded, following):
                self._reading = reader.submit(steps.read, following)
            result = steps.compute(job, loaded)
        except Exception as error:
            steps.end(job, error)
            return following
        del loaded
        self._wait_for_writing()
        self._writing = writer.submit(self._write, job, result)
        return following

    def _wait_for_writing(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _write(self, job: Job, result: Result) -> None:
        try:
            self._steps.write(job, result)
        except Exception as error:
            self._steps.end(job, error)
        else:
            self._steps.end(job, None)


def _leave_cores_to_the_network() -> None:
    """One core for the helper thread: the setting is the thread's own."""
    torch.set_num_threads(1)
