import threading
import weakref
from dataclasses import dataclass, field

import pytest
import torch

from swin_unetr.inference.batch.pipeline import run_pipeline

#: A step that waits longer than this for another to go on at the same time fails its test.
SECONDS = 10


class Loaded:
    """Stands for a scan in memory."""


@dataclass
class Steps:
    """Counts jobs 1, 2, ... up to `jobs`; keeps a log of what began and ended."""

    jobs: int = 3
    ahead: bool = True
    log: list[str] = field(default_factory=list)
    ends: dict[int, Exception | None] = field(default_factory=dict)
    _taken: int = 0

    def take(self, wait: bool) -> int | None:
        if self._taken == self.jobs:
            return None
        self._taken += 1
        return self._taken

    def read(self, job: int) -> Loaded:
        self.log.append(f"read {job}")
        return Loaded()

    def may_read_ahead(self, job: int, loaded: Loaded, following: int) -> bool:
        return self.ahead

    def compute(self, job: int, loaded: Loaded) -> str:
        self.log.append(f"compute {job}")
        return f"result {job}"

    def write(self, job: int, result: str) -> None:
        assert result == f"result {job}"
        self.log.append(f"write {job}")

    def end(self, job: int, error: Exception | None) -> None:
        assert job not in self.ends
        self.ends[job] = error


def test_reading_the_next_and_writing_the_last_go_on_while_the_network_computes() -> None:
    is_read, is_computing = ({job: threading.Event() for job in range(5)} for _ in range(2))

    class Together(Steps):
        def read(self, job: int) -> Loaded:
            is_read[job].set()
            return super().read(job)

        def compute(self, job: int, loaded: Loaded) -> str:
            is_computing[job].set()
            if job < 3:
                assert is_read[job + 1].wait(SECONDS)
            return super().compute(job, loaded)

        def write(self, job: int, result: str) -> None:
            if job < 3:
                assert is_computing[job + 1].wait(SECONDS)
            super().write(job, result)

    steps = Together()
    run_pipeline(steps)
    assert steps.ends == {1: None, 2: None, 3: None}


def test_nothing_is_read_ahead_where_memory_does_not_allow_it() -> None:
    steps = Steps(ahead=False)
    run_pipeline(steps)
    assert steps.ends == {1: None, 2: None, 3: None}
    for job in (1, 2):
        assert steps.log.index(f"compute {job}") < steps.log.index(f"read {job + 1}")


@pytest.mark.parametrize("step", ["read", "compute", "write", "may_read_ahead"])
def test_an_error_ends_its_job_alone(step) -> None:
    steps = Steps(jobs=4)
    whole = getattr(steps, step)

    def fail_at_second(job: int, *rest: object) -> object:
        if job == 2:
            raise ValueError(f"no {step}")
        return whole(job, *rest)

    setattr(steps, step, fail_at_second)
    run_pipeline(steps)
    assert [job for job, error in sorted(steps.ends.items()) if error is None] == [1, 3, 4]
    assert str(steps.ends[2]) == f"no {step}"


def test_an_interruption_waits_for_what_is_being_written() -> None:
    class Stopped(Steps):
        def compute(self, job: int, loaded: Loaded) -> str:
            if job == 2:
                stopping.set()
                raise KeyboardInterrupt
            return super().compute(job, loaded)

        def write(self, job: int, result: str) -> None:
            assert stopping.wait(SECONDS)
            super().write(job, result)

    stopping = threading.Event()
    steps = Stopped()
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(steps)
    assert steps.ends == {1: None}
    assert "write 1" in steps.log


def test_what_was_loaded_is_let_go_when_it_was_computed() -> None:
    class Watched(Steps):
        def read(self, job: int) -> Loaded:
            assert [item() for item in held] == [None] * (job - 1)
            return super().read(job)

        def compute(self, job: int, loaded: Loaded) -> str:
            held.append(weakref.ref(loaded))
            return super().compute(job, loaded)

    held: list[weakref.ref[Loaded]] = []
    steps = Watched(ahead=False)
    run_pipeline(steps)
    assert steps.ends == {1: None, 2: None, 3: None}
    assert [item() for item in held] == [None] * 3


def test_helper_threads_leave_the_cores_to_the_network() -> None:
    class Counting(Steps):
        def read(self, job: int) -> Loaded:
            counts["read"] = torch.get_num_threads()
            return super().read(job)

        def compute(self, job: int, loaded: Loaded) -> str:
            counts["compute"] = torch.get_num_threads()
            return super().compute(job, loaded)

        def write(self, job: int, result: str) -> None:
            counts["write"] = torch.get_num_threads()
            super().write(job, result)

    counts: dict[str, int] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run_pipeline(Counting())
        later = threading.Thread(target=lambda: counts.update(later=torch.get_num_threads()))
        later.start()
        later.join()
    finally:
        torch.set_num_threads(before)
    assert counts == {"read": 1, "compute": 3, "write": 1, "later": 3}
