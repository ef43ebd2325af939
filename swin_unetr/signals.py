"""Signals that end a command, and worker processes that leave these signals to their parent.

Ctrl-C in a terminal, `timeout`, SLURM and `docker stop` signal every process of a command. The first one decides what
is still saved; the processes that read data for it go on until it tells them to end.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import parent_process

#: Those that ask a command to stop. Windows has no SIGUSR1, which SLURM sends ahead of a job's end where asked to.
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
#: Put before a command on Linux: the system ends it by SIGTERM when its parent is gone.
_ENDING_WITH_THIS = ("setpriv", "--pdeathsig", "TERM", "--")
#: Seconds between two looks at whether the parent of a process is alive.
_LOOK_EVERY = 1.0


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which SLURM, `timeout` and others end a process; it stops as Ctrl-C does."""


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell says of a command that the signal ended: 143 for SIGTERM, 130 for Ctrl-C."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM within the block, as Python raises `KeyboardInterrupt` on Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # where no handler may be set
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ignore_ending() -> None:
    """From now on, let no signal disturb the end of this process."""
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)


def ending_with_this(command: Sequence[str]) -> list[str]:
    """A command that is sent SIGTERM when this process ends, even if it is killed; only on Linux, with `setpriv`."""
    return [*(_ENDING_WITH_THIS if shutil.which("setpriv") else ()), *command]


@contextmanager
def held_back() -> Iterator[None]:
    """Hold signals back in this thread, and in the processes that are started in the block, from their first moment.

    The processes must call `leave_to_parent`; signals that come during the block reach this thread when it ends.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent(worker: int = 0) -> None:
    """In a worker process: end when its parent says so or is gone, but not by signals of others.

    Args:
        worker: number of the process, which torch gives to the `worker_init_fn` of a `DataLoader`.
    """
    for number in set(ENDING) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # blocked, SIGTERM is taken by the thread alone
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(ENDING) - {signal.SIGTERM})
    else:  # macOS and Windows do not say who sent a signal: the second SIGTERM ends the process
        signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the parent ends, or ends this process by SIGTERM, as `multiprocessing` and torch do."""
    parent, started_by = parent_process(), os.getppid()
    allowed = started_by if parent is None else parent.pid
    while True:
        if hasattr(signal, "sigtimedwait"):
            received = signal.sigtimedwait([signal.SIGTERM], _LOOK_EVERY)
            if received is not None and received.si_pid == allowed:
                os._exit(1)
        else:
            time.sleep(_LOOK_EVERY)
        if os.getppid() != started_by:
            os._exit(1)
