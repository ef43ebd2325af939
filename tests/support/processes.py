"""Whether processes have ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil  # type: ignore[import-untyped]

#: How long a process that was killed may take to end on a busy machine.
_SECONDS = 10.0


def running(process: int) -> bool:
    """Whether a process still runs; one that has ended and that nobody has waited for does not."""
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def left_of_group(group: int) -> list[int]:
    """The processes of a process group that still run."""
    return [process for process in psutil.pids() if _group_of(process) == group and running(process)]


def becomes_true(holds: Callable[[], bool], seconds: float = _SECONDS) -> bool:
    """Whether something holds within some seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _group_of(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except (ProcessLookupError, PermissionError):
        return None
