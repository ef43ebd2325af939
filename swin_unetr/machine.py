"""What this process may use of the machine: its memory and its cores, within all control groups that it is in; and
sizes of memory, as people write them. Knows no torch.

Containers, SLURM and systemd bound a process by control groups (cgroups), one inside the other. The limit of every
group on the process's own path counts, in version 2 and in version 1.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]

from swin_unetr.errors import ConfigError

#: Types that a network multiplies in.
Precision = Literal["float32", "bfloat16", "float16"]

_ROOT = Path("/")
_UNITS = {unit: 1000**power for power, unit in enumerate(("B", "KB", "MB", "GB", "TB"))}
_UNITS |= {unit: 1024**power for power, unit in enumerate(("KIB", "MIB", "GIB", "TIB"), start=1)}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", re.IGNORECASE)
#: Where version 2 is mounted, alone or beside version 1; and version 1's parts.
_UNIFIED = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_PARTS = {"memory": ("sys/fs/cgroup/memory",), "cpu": ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")}


def resident() -> int:
    """Bytes that this process takes now."""
    return int(psutil.Process().memory_info().rss)


def available(root: Path = _ROOT) -> int:
    """Bytes that can still be taken: of the machine, and of every control group that this process is in.

    The page cache of a group counts as available, as in the kernel's `MemAvailable` for the machine: it is dropped when
    memory is needed. Files that are still to be written to the disk, and files in memory (tmpfs), do not count.

    Args:
        root: of the file system; another one for tests.
    """
    free = int(psutil.virtual_memory().available)
    for group, version in _groups("memory", root):
        limit = _limit(group, version)
        used = _number(group / ("memory.current" if version == 2 else "memory.usage_in_bytes"))
        if limit is not None and used is not None:
            free = min(free, max(0, limit - max(0, used - _reclaimable(group, version))))
    return free


def cores(root: Path = _ROOT) -> int:
    """Cores that this process may use: by its affinity, and by the time that its control groups are given.

    Args:
        root: of the file system; another one for tests.
    """
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group, version in _groups("cpu", root):
        quota = _quota(group, version)
        if quota is not None:
            found = min(found, int(quota))
    return max(1, found)


def peak_during(call: Callable[[], object]) -> int:
    """The most bytes that this process took while something was computed, sampled every few milliseconds.

    The result is held until the last sample: what is small and short can be missed on a busy machine, the result not.
    """
    highest = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.002):
            highest = max(highest, resident())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        result = call()
        highest = max(highest, resident())
    finally:
        done.set()
        watcher.join()
    del result
    return highest


def parse_size(text: str, field: str = "max_memory") -> int:
    """Bytes of "4GB", "500 MB", "3.5GiB"; GB are 10^9 bytes and GiB 2^30.

    Args:
        text: a number and its unit.
        field: named in the error.

    Raises:
        ConfigError: it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not (size := int(float(match[1]) * _UNITS[match[2].upper()])):
        raise ConfigError(f"{field}: {text!r} is no size; give a number with its unit, such as 4GB, 500MB or 4GiB")
    return size


def size_in_words(size: float) -> str:
    """Bytes in the unit that suits them, such as "3.8 GB" or "512 MB"."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size >= (least := _UNITS[unit]):
            return f"{size / least:.1f} {unit}" if size < 10 * least else f"{size / least:.0f} {unit}"
    return f"{size:.0f} bytes"


def _groups(part: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Folders of the groups that this process is in, from its own to the outermost, each with its version.

    A container sees its own group as the outermost, and perhaps a path that exists outside it only.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, parts, path = ([*line.split(":", 2), "", ""])[:3]
        version, mounts = (1, _PARTS[part]) if parts else (2, _UNIFIED)
        if parts and part not in parts.split(","):
            continue
        names = [name for name in path.split("/") if name]
        for mount in dict.fromkeys((root / mount).resolve() for mount in mounts):
            for depth in range(len(names), -1, -1):
                yield mount.joinpath(*names[:depth]), version


def _limit(group: Path, version: int) -> int | None:
    """Bytes that a group may take; above `memory.high` the kernel slows it down until it has given them back."""
    files = ("memory.max", "memory.high") if version == 2 else ("memory.limit_in_bytes",)
    limits = [limit for limit in (_number(group / name) for name in files) if limit is not None]
    return min(limits, default=None)


def _reclaimable(group: Path, version: int) -> int:
    """Bytes of files that the kernel drops when memory is wanted: those on its lists that are on the disk already."""
    stat = {}
    for line in _text(group / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        stat[name] = int(value) if value.strip().isdecimal() else 0
    if version == 2:
        kept = ("inactive_file", "active_file"), ("file_dirty", "file_writeback")
    else:
        kept = ("total_inactive_file", "total_active_file"), ("total_dirty", "total_writeback")
    files, unwritten = (sum(stat.get(name, 0) for name in names) for names in kept)
    return max(0, files - unwritten)


def _quota(group: Path, version: int) -> float | None:
    """Cores by processor time."""
    if version == 2:
        quota, period = ([*_text(group / "cpu.max").split(), "", ""])[:2]
    else:
        quota, period = _text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()
    if not (quota.isdecimal() and period.isdecimal() and int(quota) and int(period)):  # "max", or -1
        return None
    return int(quota) / int(period)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # no such group or file here
        return ""
