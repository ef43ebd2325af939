"""Runs a command with its output in a log; the signals that stop this process stop the command too."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from swin_unetr.signals import ENDING, Terminated, ending_with_this

_POLL_SECONDS = 0.2
#: What another program may take to end after a signal; a training of ours first saves its state, however long it takes.
_GRACE_SECONDS = 30.0


class Processes:
    """Runs commands, one at a time, and listens to signals meanwhile.

    While no command runs, a signal raises at once. A running command is sent it, and when the command has ended the
    signal raises here.
    """

    def __init__(self) -> None:
        self._running = False
        self._asked: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Processes:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in ENDING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, arguments: Sequence[str], log: Path, *, foreign: bool = False) -> int:
        """Run a command in a process group of its own.

        Args:
            arguments: of the process; no shell reads them.
            log: its output is added to this file.
            foreign: another program, which is killed if it does not end soon after a signal.

        Returns:
            Its exit code; of a process that a signal ended, the negative number of the signal.

        Raises:
            KeyboardInterrupt: this process was asked to stop; the command has ended.
            OSError: the command cannot be started.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self._running, self._asked = True, []
        try:
            with log.open("ab") as file:
                file.write(f"$ {shlex.join(arguments)}\n".encode())
                file.flush()
                process = subprocess.Popen(
                    ending_with_this(arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches it through this process
                )
            code = self._wait(process, foreign=foreign)
        finally:
            self._running = False
        if self._asked:
            raise KeyboardInterrupt if self._asked[-1] == signal.SIGINT else Terminated
        return code

    def _wait(self, process: subprocess.Popen[bytes], *, foreign: bool) -> int:
        sent, asked_at = 0, 0.0
        try:
            while process.poll() is None:
                for number in self._asked[sent:]:
                    asked_at = asked_at or time.monotonic()
                    _send(process.pid, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
                    sent += 1
                if foreign and asked_at and time.monotonic() - asked_at > _GRACE_SECONDS:
                    _send(process.pid, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
        finally:
            if foreign or process.poll() is None:  # what it has started and left behind
                _send(process.pid, signal.SIGKILL)
        return process.returncode

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Only note it while a command runs: it may be starting, and not be known yet."""
        if not self._running:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        self._asked.append(number)


def _send(process: int, number: int) -> None:
    """Send a signal to a process and all that it has started; Windows knows no groups."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process, number)
        else:
            os.kill(process, number)
