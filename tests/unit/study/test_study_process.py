"""Commands of a study: their output, their exit codes, and that a stop leaves nothing running."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from swin_unetr.signals import Terminated
from swin_unetr.study.cell_run import tail_of, why
from swin_unetr.study.process import Processes

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path("/proc", str(pid), "status").read_text()
    except OSError:
        return False


def test_output_goes_to_the_log_and_the_last_line_is_the_cause(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log.txt"
    with Processes() as processes:
        assert processes.run([sys.executable, "-c", "print('all is well')"], log) == 0
        fails = "import sys; print('no scans', file=sys.stderr); raise SystemExit(3)"
        assert processes.run([sys.executable, "-c", fails], log) == 3
        assert why(3, tail_of(log)) == "exit code 3: no scans"
        killed = "import os, signal; print('so far', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
        assert processes.run([sys.executable, "-c", killed], log) == -9
    lines = log.read_text().splitlines()
    assert [line for line in lines if not line.startswith("$ ")] == ["all is well", "no scans", "so far"]
    assert len(tail_of(log)) == 2  # of the last command alone
    assert "too little memory?); its last line: so far" in why(-9, tail_of(log))
    assert why(1, ["$ run"]) == "exit code 1: it wrote nothing"


def test_a_command_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with Processes() as processes:
        try:
            code = processes.run([str(tmp_path / "nothing")], tmp_path / "log.txt")
        except OSError:
            return
    assert code in (126, 127)  # where setpriv starts it


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_stop_ends_the_command_and_what_it_has_started(tmp_path: Path, number: int, error: type) -> None:
    """The command has a child of its own, which a signal to the command alone would leave running."""
    note = "pathlib.Path('pids').write_text(f'{os.getpid()} {child.pid}')"
    start = "import os, pathlib, subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; "
    code = f"{start}time.sleep(60)']); {note}; time.sleep(60)"
    pids = tmp_path / "pids"

    def stop() -> None:
        deadline = time.monotonic() + 30
        while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    command = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {code}"]
    threading.Thread(target=stop).start()
    with pytest.raises(error), Processes() as processes:
        processes.run(command, tmp_path / "log.txt", foreign=True)
    assert signal.getsignal(number) is before
    deadline = time.monotonic() + 10
    while any(is_running(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_signal_between_two_commands_stops_at_once() -> None:
    def signalled() -> None:
        with Processes():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(Terminated):
        signalled()
