"""Signals that ask a training to stop. They are noted, and acted on when the step under way has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Any

from swin_unetr.signals import ENDING, Terminated

_NOTICE = b"\nstopping after this step (or validation); Ctrl-C once more stops at once\n"
#: SLURM sends it ahead of a job's end, if asked to: `#SBATCH --signal=USR1@120`. Windows has none.
_REQUEUE: int | None = getattr(signal, "SIGUSR1", None)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """After the block the signals are handled as before it: Lightning leaves its handler of SIGTERM behind."""
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # one that was not set from Python cannot be set from it
                    signal.signal(number, handler)


class Stop(IntEnum):
    """What signals ask of a training; the highest value of all processes counts."""

    NO = 0
    #: Not a stop: to write the checkpoint and go on.
    SAVE = 1
    INTERRUPT = 2
    TERMINATE = 3
    REQUEUE = 4


class StopSignals:
    """Listens to SIGINT (Ctrl-C), SIGTERM and SIGUSR1.

    A handler runs between any two instructions, within a collective of several processes too: to save there, as
    Lightning does under SLURM, can wait for ever. This one sets a flag. A second Ctrl-C stops at once; that of
    `torchrun`, which passes on to its processes what the terminal has sent them already, does not. While there is
    nothing to save (`wait` is False), the first one does.
    """

    def __init__(self) -> None:
        #: What the signals so far ask for.
        self.asked = Stop.NO
        #: Whether the current step must end first; before the first step has ended, there is nothing to save.
        self.wait = False
        self._interrupts = 0
        self._handlers: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals; only the main thread may, others leave them as they are."""
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in ENDING}

    def leave(self) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        asked = Stop.TERMINATE
        if number == signal.SIGINT:
            asked = Stop.INTERRUPT
        elif number == _REQUEUE and job() is not None:
            asked = Stop.REQUEUE
        first = self.asked is Stop.NO
        self.asked = max(self.asked, asked)
        if self._interrupts > (2 if "TORCHELASTIC_RUN_ID" in os.environ else 1):
            raise KeyboardInterrupt
        if not self.wait and asked is not Stop.REQUEUE:
            raise KeyboardInterrupt if asked is Stop.INTERRUPT else Terminated
        if first:  # not print: the signal may have come while something is printed
            with contextlib.suppress(OSError):
                os.write(1, _NOTICE)


def job() -> str | None:
    """The number under which SLURM knows this job, that of a part of an array included."""
    array, part = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{part}" if array and part else os.environ.get("SLURM_JOB_ID")


def requeue() -> str:
    """Have SLURM start this job once more, later; the result in words."""
    number = job()
    try:
        command = ["scontrol", "requeue", str(number)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"job {number} could not be requeued: {error}"
    if run.returncode:
        return f"job {number} could not be requeued: {run.stderr.strip()}"
    return f"job {number} is requeued; it goes on where its command has --resume auto"
