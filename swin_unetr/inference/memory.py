"""What memory this process takes and what the machine has left, in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_CGROUP = Path("/sys/fs/cgroup")
#: Files of a control group that hold its limit and its use: version 2, version 1.
_CGROUP_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))


def resident() -> int:
    """What this process takes now."""
    return int(psutil.Process().memory_info().rss)


def available() -> int:
    """What can still be taken: of the machine, and of the container that this runs in."""
    free = int(psutil.virtual_memory().available)
    for limit, used in _CGROUP_FILES:
        try:
            left = int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text())
        except (OSError, ValueError):  # no such version of control groups, or "max"
            continue
        free = min(free, max(0, left))
    return free


def peak_during(call: Callable[[], object]) -> int:
    """The most that this process took while something was computed, sampled every few milliseconds."""
    highest = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return max(highest, resident())
