"""Cases shared by several queues on one folder; a lock belongs to an open file, so one process can stand for many."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from swin_unetr.datasets import Case
from swin_unetr.inference.batch import queue as queues
from swin_unetr.inference.batch.queue import CaseQueue

CASES = [Case(id=name, images=(Path(f"{name}.nii.gz"),)) for name in ("a", "b", "c")]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(queues, "_WAIT_SECONDS", 0.01)


@pytest.fixture
def done() -> set[str]:
    """Ids of the cases whose results stand."""
    return set()


@pytest.fixture
def open_queue(tmp_path, done):
    def make(elsewhere: list[str] | None = None) -> CaseQueue:
        told = [] if elsewhere is None else elsewhere
        return CaseQueue(tmp_path, CASES, lambda case: case.id in done, lambda case: told.append(case.id))

    return make


def drain(queue: CaseQueue, done: set[str]) -> Iterator[str]:
    while claim := queue.take(wait=True):
        yield claim.case.id
        done.add(claim.case.id)
        claim.release()


def test_alone_every_case_once_in_order_and_nothing_left_behind(open_queue, done, tmp_path) -> None:
    with open_queue() as queue:
        assert list(drain(queue, done)) == ["a", "b", "c"]
    assert list(tmp_path.iterdir()) == []


def test_two_share_the_cases(open_queue, done) -> None:
    told: list[str] = []
    with open_queue() as first, open_queue(told) as second:
        mine, theirs = first.take(wait=False), second.take(wait=False)
        assert (mine.case.id, theirs.case.id) == ("a", "b")
        last = first.take(wait=False)
        assert last.case.id == "c"
        assert second.take(wait=False) is None  # "a" and "c" are another's
        for claim in (mine, last):
            done.add(claim.case.id)
            claim.release()
        assert second.take(wait=True) is None
        assert told == ["a", "c"]


def test_what_others_have_done_is_told_at_the_next_case(open_queue, done) -> None:
    told: list[str] = []
    with open_queue() as first, open_queue(told) as second:
        mine = first.take(wait=False)
        assert second.take(wait=False).case.id == "b"
        done.add("a")
        mine.release()
        assert told == []
        assert second.take(wait=False).case.id == "c"
        assert told == ["a"]


def test_a_case_that_another_leaves_undone_is_taken_over(open_queue, done) -> None:
    with open_queue() as second:
        with open_queue() as first:
            assert first.take(wait=False).case.id == "a"
            assert second.take(wait=False).case.id == "b"
        assert list(drain(second, done)) == ["c", "a"]


def test_the_lock_of_a_killed_process_is_free(open_queue, done, tmp_path) -> None:
    program = (
        "import sys; from pathlib import Path; from filelock import FileLock\n"
        "folder = Path(sys.argv[1]); folder.mkdir(); lock = FileLock(folder / 'a.lock'); lock.acquire()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / ".queue"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with open_queue() as queue:
            cases = drain(queue, done)
            assert [next(cases), next(cases)] == ["b", "c"]
            holder.kill()
            assert list(cases) == ["a"]
    assert list(tmp_path.iterdir()) == []


def test_results_that_stand_are_not_handed_out(open_queue, done) -> None:
    told: list[str] = []
    done.update(("a", "b"))
    with open_queue(told) as queue:
        assert list(drain(queue, done)) == ["c"]
    assert told == ["a", "b"]


def test_the_lock_that_a_killed_process_left_of_a_case_that_stands_is_removed(open_queue, done, tmp_path) -> None:
    (tmp_path / ".queue").mkdir()
    for name in ("a", "b"):
        (tmp_path / f".queue/{name}.lock").touch()
    done.update("abc")
    other = FileLock(tmp_path / ".queue/b.lock")
    with other, open_queue() as queue:
        assert queue.take(wait=False) is None
        queue.__exit__(None, None, None)
        assert [path.name for path in (tmp_path / ".queue").iterdir()] == ["b.lock"]
    with open_queue():
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nothing_is_locked_and_what_stands_is_passed(done, tmp_path) -> None:
    done.add("b")
    told: list[str] = []
    with CaseQueue(
        tmp_path, CASES, lambda case: case.id in done, lambda case: told.append(case.id), locks=False
    ) as queue:
        assert list(drain(queue, done)) == ["a", "c"]
        assert list(tmp_path.iterdir()) == []
    assert told == ["b"]
