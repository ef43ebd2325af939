"""A survey: every file of a data set read once, in parallel processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.labelled import partly_labelled
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.file_stamps import parts_of
from swin_unetr.machine import available, cores
from swin_unetr.parallel import run_parallel
from swin_unetr.survey.case import Reading, read_case
from swin_unetr.survey.facts import CaseFacts, Problem, Survey
from swin_unetr.tasks import Task
from transforms.infer_task import settle_labelled, settle_task
from transforms.io import read_header

#: Share of the free memory that all processes may take together, and what a process takes before it reads anything.
_MEMORY_SHARE, _PROCESS_BYTES = 0.6, 300 << 20
#: Largest cases whose headers are looked at for what a process will take.
_LOOKED_AT = 8
#: Bytes in memory for a byte on disk, of a case whose header cannot be read.
_GROWTH = 8
#: Hounsfield units that only CT has (lungs and air), and a value that not even CT has.
_AIR_HU, _LOWEST_CT = -500.0, 20_000.0
#: Below this many bytes on disk for each process, starting another one costs more than it saves.
_WORTH_A_PROCESS = 8 << 20


def survey(
    dataset: Dataset,
    *,
    workers: int = 0,
    known: Survey | None = None,
    on_case: Callable[[int, int], None] | None = None,
) -> Survey:
    """Read every file of a data set once.

    A file that cannot be read is a problem of its case; the others go on. The result does not depend on the number of
    processes.

    Args:
        dataset: what to read.
        workers: processes; 0 takes as many as cores and memory allow and as are worth starting.
        known: an earlier survey; files with the content that they had then are not read again.
        on_case: called with the number of cases done and of all.
    """
    if workers < 0:
        raise ConfigError(f"workers: must not be negative, got {workers}")
    started = time.monotonic()
    before = {} if known is None else {case.id: case for case in known.cases}
    readings = [Reading(case, before.get(case.id)) for case in dataset.cases]
    facts: dict[int, CaseFacts] = {}
    for index, result in run_parallel(read_case, readings, workers=workers or choose_workers(dataset.cases)):
        facts[index] = _failed(dataset.cases[index], result) if isinstance(result, Exception) else result
        if on_case is not None:
            on_case(len(facts), len(readings))
    cases = tuple(facts[index] for index in range(len(readings)))
    task = settled(dataset, cases)
    return Survey(
        root=dataset.root,
        layout=dataset.layout,
        task=task,
        cases=cases,
        labelled={} if task is None else partly_labelled(settled_by(dataset, task, cases).cases, task),
        seconds=round(time.monotonic() - started, 2),
    )


def choose_workers(cases: Sequence[Case]) -> int:
    """Processes that fit into the memory that is free, for the largest of the cases, and that are worth starting."""
    sizes = {index: _on_disk(case) for index, case in enumerate(cases)}
    largest = sorted(sizes, key=lambda index: -sizes[index])[:_LOOKED_AT]
    each = _PROCESS_BYTES + max((_in_memory(cases[index], sizes[index]) for index in largest), default=0)
    fitting = int(_MEMORY_SHARE * available() / each)
    worth = round(sum(sizes.values()) / _WORTH_A_PROCESS)
    return max(1, min(cores(), fitting, worth))


def settled(dataset: Dataset, cases: Sequence[CaseFacts]) -> Task | None:
    """The task, by the values that were found in the labels; if they fit no known task, what the layout says."""
    found: Mapping[str, tuple[int, ...]] = {
        case.id: tuple(of.value for of in case.label.values) if case.label else () for case in cases
    }
    try:
        return settle_task(
            dataset, modality="CT" if look_like_ct(cases) else "MR", values_of=lambda case: found[case.id]
        )
    except (DataError, ConfigError):
        return dataset.task


def settled_by(dataset: Dataset, task: Task, cases: Sequence[CaseFacts]) -> Dataset:
    """A data set with its task, whose cases know what was looked for, by the values that a survey found.

    Args:
        dataset: as listed.
        task: what its label values mean.
        cases: the facts of its cases.
    """
    found = {case.id: [of.value for of in case.label.values] if case.label else [] for case in cases}
    return replace(settle_labelled(dataset, task, lambda case: found[case.id]), task=task)


def look_like_ct(cases: Sequence[CaseFacts], channel: int = 0) -> bool:
    """Whether most scans have the air of a CT in a channel; for data whose modality nothing says."""
    values = [case.channels[channel].all for case in cases if len(case.channels) > channel]
    return sum(of is not None and -_LOWEST_CT <= of.low <= _AIR_HU for of in values) > len(values) / 2


def _failed(case: Case, error: Exception) -> CaseFacts:
    problem = Problem(code="unreadable", path=case.images[0], words=f"reading the case failed: {error}")
    return CaseFacts(id=case.id, group=case.id, images=(), label=None, problems=(problem,))


def _files(case: Case) -> tuple[Path, ...]:
    return (*case.images, *([case.label] if case.label else []))


def _on_disk(case: Case) -> int:
    return sum(os.path.getsize(part) for path in _files(case) if path.exists() for part in parts_of(path))


def _in_memory(case: Case, on_disk: int) -> int:
    """Bytes at the most: labels and the largest image, as stored, and what is computed of them."""
    most = 0
    for path in _files(case):
        try:
            geometry, channels, dtype = read_header([path], case.channels)
        except (DataError, OSError):
            return _GROWTH * on_disk
        x, y, z = geometry.shape
        most = max(most, x * y * z * channels * dtype.itemsize)
    return 3 * most
