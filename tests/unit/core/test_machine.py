"""Memory and cores within control groups, whose files are made here."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from swin_unetr.machine import available, cores, peak_during, resident

MB = 10**6
#: More than any machine has.
UNLIMITED_V1 = 9223372036854771712


def write(folder: Path, **files: object) -> None:
    """Files of a group; `memory_max` is memory.max."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def in_groups(root: Path, lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)


def stat(**values: int) -> str:
    return "\n".join(f"{name} {value}" for name, value in values.items())


def test_without_control_groups_the_machine_s_own(tmp_path) -> None:
    assert available(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.1)
    assert cores(tmp_path) == len(os.sched_getaffinity(0))


def test_a_container_is_the_outermost_group_that_it_sees(tmp_path) -> None:
    in_groups(tmp_path, "0::/\n")
    write(tmp_path / "sys/fs/cgroup", memory_max=500 * MB, memory_current=200 * MB, memory_stat="")
    assert available(tmp_path) == 300 * MB


@pytest.mark.parametrize("bound", ["user.slice", "user.slice/job", "user.slice/job/step"])
def test_the_limit_of_every_group_on_the_way_counts(tmp_path, bound) -> None:
    """SLURM and systemd bound a group above that of the process, or its own."""
    in_groups(tmp_path, "0::/user.slice/job/step\n")
    groups = tmp_path / "sys/fs/cgroup"
    for group in ("user.slice", "user.slice/job", "user.slice/job/step"):
        limit = 400 * MB if group == bound else "max"
        write(groups / group, memory_max=limit, memory_current=150 * MB)
    assert available(tmp_path) == 250 * MB
    write(groups / "another", memory_max=1, memory_current=0)  # not on the way
    assert available(tmp_path) == 250 * MB
    write(groups / "user.slice", memory_high=180 * MB)  # the kernel slows down what is above it
    assert available(tmp_path) == 30 * MB


def test_files_that_the_kernel_can_drop_are_not_taken(tmp_path) -> None:
    in_groups(tmp_path, "0::/box\n")
    facts = {"inactive_file": 300 * MB, "active_file": 100 * MB, "file_dirty": 30 * MB, "file_writeback": 10 * MB}
    facts["shmem"] = 50 * MB  # files in memory
    write(tmp_path / "sys/fs/cgroup/box", memory_max=600 * MB, memory_current=590 * MB, memory_stat=stat(**facts))
    assert available(tmp_path) == (600 - (590 - 360)) * MB


def test_version_1(tmp_path) -> None:
    in_groups(tmp_path, "11:cpu,cpuacct:/slurm/job_7\n9:memory:/slurm/job_7\n4:cpuset:/\n1:name=systemd:/x\n0::/x\n")
    memory, cpu = tmp_path / "sys/fs/cgroup/memory", tmp_path / "sys/fs/cgroup/cpu"
    write(memory, **{"memory_limit_in_bytes": UNLIMITED_V1, "memory_usage_in_bytes": 900 * MB})
    facts = {"inactive_file": 1, "total_inactive_file": 100 * MB, "total_active_file": 20 * MB, "total_dirty": 5 * MB}
    write(
        memory / "slurm/job_7",
        **{"memory_limit_in_bytes": 500 * MB, "memory_usage_in_bytes": 400 * MB, "memory_stat": stat(**facts)},
    )
    assert available(tmp_path) == (500 - 400 + 115) * MB
    write(cpu / "slurm/job_7", cpu_cfs_quota_us=-1, cpu_cfs_period_us=100_000)
    assert cores(tmp_path) == len(os.sched_getaffinity(0))
    write(cpu / "slurm", cpu_cfs_quota_us=150_000, cpu_cfs_period_us=100_000)
    assert cores(tmp_path) == 1


def test_a_path_that_exists_outside_the_container_only_does_no_harm(tmp_path) -> None:
    in_groups(tmp_path, "0::/docker/12ab/init\n")
    write(tmp_path / "sys/fs/cgroup", memory_max=500 * MB, memory_current=100 * MB)
    assert available(tmp_path) == 400 * MB


@pytest.mark.parametrize(("text", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_processor_time_of_a_group(tmp_path, text, expected) -> None:
    in_groups(tmp_path, "0::/box/inner\n")
    write(tmp_path / "sys/fs/cgroup/box", cpu_max=text)
    assert cores(tmp_path) == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("text", ["", "no lines of ours", "0::", "::::\n0:\n"])
def test_damaged_files_are_as_none(tmp_path, text) -> None:
    in_groups(tmp_path, text)
    write(tmp_path / "sys/fs/cgroup", memory_max="?", memory_current="", cpu_max="1")
    assert available(tmp_path) > 0
    assert cores(tmp_path) >= 1


def test_here() -> None:
    assert 0 < available() <= psutil.virtual_memory().total
    before = resident()
    assert peak_during(filled) > before + 40 * MB


def filled() -> mmap.mmap:
    """50 MB that are new: what the allocator gives may have been resident before."""
    area = mmap.mmap(-1, 50 * MB)
    np.frombuffer(area, np.uint8)[:] = 1
    return area
