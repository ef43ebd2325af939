"""Folds in processes of their own: how many at a time, what each is told, and how they are stopped."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from finetune.fold_processes import FoldProcesses, slots
from swin_unetr.errors import ConfigError


def test_so_many_at_a_time_and_what_fails_is_told(tmp_path: Path) -> None:
    note = "import os, time; name = os.environ['SLOT']; open(f'{name}-running', 'x'); time.sleep(0.2)"
    note += "; os.remove(f'{name}-running'); print('slot', name)"  # two at a time in one slot would fail at 'x'
    commands = {fold: [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {note}"] for fold in range(4)}
    commands[2] = [sys.executable, "-c", "import sys; print('no scans', file=sys.stderr); raise SystemExit(3)"]
    processes = FoldProcesses(commands, [{"SLOT": "a"}, {"SLOT": "b"}], tmp_path / "logs")
    assert processes.run() == {2: f"exit code 3: no scans ({tmp_path / 'logs' / 'fold_2.txt'})"}
    assert (tmp_path / "logs" / "fold_0.txt").read_text() == "slot a\n"
    assert (tmp_path / "logs" / "fold_1.txt").read_text() == "slot b\n"
    assert (tmp_path / "logs" / "fold_3.txt").read_text().startswith("slot ")


def test_a_stop_reaches_every_process_and_starts_no_other(tmp_path: Path) -> None:
    wait = "import pathlib, time; pathlib.Path('running').touch(); time.sleep(60)"
    commands = {fold: [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {wait}"] for fold in range(3)}
    processes = FoldProcesses(commands, [{}], tmp_path / "logs")

    def stop() -> None:
        deadline = time.monotonic() + 30
        while not (tmp_path / "running").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=stop).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        processes.run()
    assert time.monotonic() - started < 50
    assert signal.getsignal(signal.SIGTERM) is before
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["fold_0.txt"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_folds_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    note = f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))"
    fold = f"[sys.executable, '-c', {note + '; time.sleep(60)'!r}]"
    start = "import sys; from finetune.fold_processes import FoldProcesses"
    parent = subprocess.Popen([sys.executable, "-c", f"{start}; FoldProcesses({{0: {fold}}}, [{{}}], None).run()"])
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
    while is_running((tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path("/proc", pid, "status").read_text()
    except OSError:
        return False


def test_cores_are_shared_and_gpus_given_out(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert slots(1, "cpu") == [{"OMP_NUM_THREADS": str(cores)}]
    assert slots(cores, "cpu") == [{"OMP_NUM_THREADS": "1"}] * cores
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slots(1, "auto") == [{}]
    assert slots(2, "gpu") == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert slots(2, "auto") == [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "7"}]
    with pytest.raises(ConfigError, match="parallel: 3 folds at a time, but 2 GPUs"):
        slots(3, "auto")
