"""The processes that read data: what ends them, and what does not."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import Dataset

from swin_unetr.training.loaders import Loader
from swin_unetr.training.trainer import worker_ended

pytestmark = pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="the system does not say who sent a signal")


class Pids(Dataset):
    """Gives the number of the process that reads; slowly, where that is asked for."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> int:
        time.sleep(self.seconds)
        return os.getpid()


def kill(pid: int, number: int) -> None:
    """From another process, as `timeout`, SLURM and a terminal do."""
    subprocess.run(["kill", f"-{int(number)}", str(pid)], check=True)


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path("/proc", str(pid), "status").read_text()
    except OSError:
        return False


def gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_of_others_end_no_process_that_reads(number: int) -> None:
    batches = iter(Loader(Pids(), num_workers=2, batch_size=1))
    pids = {int(next(batches)) for _ in range(2)}
    for pid in pids:
        kill(pid, number)
        kill(pid, number)
    assert len(list(batches)) == 38
    assert all(map(is_running, pids))


def test_the_training_itself_ends_them() -> None:
    batches = iter(Loader(Pids(0.5), num_workers=1, batch_size=1))
    pid = int(next(batches))
    with contextlib.suppress(RuntimeError):  # torch may notice the end while this waits for it
        batches._workers[0].terminate()
        gone(pid, within=5)
    assert gone(pid, within=5)


def test_one_that_runs_out_of_memory_is_told() -> None:
    batches = iter(Loader(Pids(0.1), num_workers=1, batch_size=1))
    kill(int(next(batches)), signal.SIGKILL)
    with pytest.raises(RuntimeError, match="DataLoader worker") as caught:
        list(batches)
    assert "most likely for lack of memory" in worker_ended(str(caught.value))


@pytest.mark.slow
def test_none_outlives_a_training_that_was_killed(project_root: Path) -> None:
    script = "from tests.unit.training.test_loaders import Pids\n"  # in the middle of a long read
    script += "from swin_unetr.training.loaders import Loader\n"
    script += "batches = iter(Loader(Pids(2.5), num_workers=1, batch_size=1))\n"
    script += "print(int(next(batches)), flush=True)\nlist(batches)"
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=project_root, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        pid = int(process.stdout.readline())
        assert is_running(pid)
    finally:
        process.kill()
        process.wait()
    assert gone(pid, within=2.4)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "lack of memory"),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", "lack of memory"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error. ", "shared memory"),
        ("DataLoader worker (pid 7) is killed by signal: Terminated. ", "by a signal from outside"),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "a damaged file"),
    ],
)
def test_the_remedy_fits_the_cause(words: str, remedy: str) -> None:
    told = worker_ended(words)
    assert remedy in told
    assert told.endswith("go on with --resume auto")
