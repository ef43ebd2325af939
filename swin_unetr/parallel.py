"""Many items in parallel processes: one that fails, or that takes its process with it, does not stop the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from swin_unetr.machine import cores
from swin_unetr.signals import terminable

T = TypeVar("T")
R = TypeVar("R")


class WorkerDiedError(Exception):
    """The process that worked on an item was killed: out of memory, or by a file that crashes a library."""


def run_parallel(
    function: Callable[[T], R], items: Sequence[T], *, workers: int = 0
) -> Iterator[tuple[int, R | Exception]]:
    """Call a function on every item.

    Args:
        function: of a module's top level; it and the items go to the processes by pickling.
        items: its arguments.
        workers: processes; 0 for one per core. 1 works in this process.

    Yields:
        Index of an item, and its result or what it raised, in the order in which they are done.
    """
    workers = min(workers or cores(), len(items))
    if workers <= 1:
        for index, item in enumerate(items):
            yield index, _outcome(function, item)
        return
    left = dict(enumerate(items))
    for index, result in _run(function, left, workers):
        del left[index]
        yield index, result
    for index, item in sorted(left.items()):  # a process died, and the items under way with it: one at a time
        done = dict(_run(function, {index: item}, 1))
        yield (
            index,
            done.get(index, WorkerDiedError("the process that worked on it died; was there too little memory?")),
        )


def _run(function: Callable[[T], R], items: dict[int, T], workers: int) -> Iterator[tuple[int, R | Exception]]:
    """The same until a process dies. Spawned, not forked: threads may hold locks here."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        futures: dict[Future[R | Exception], int] = {
            pool.submit(_in_worker, function, item): index for index, item in items.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            return
        except KeyboardInterrupt:  # of this process alone, as `docker stop` does: nobody wants the results any more
            for process in list(pool._processes.values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _outcome(function: Callable[[T], R], item: T) -> R | Exception:
    try:
        return function(item)
    except Exception as error:
        return error


def _in_worker(function: Callable[[T], R], item: T) -> R | Exception:
    """In a process of the pool; a signal ends it after half-written files are removed."""
    try:
        with terminable():
            return _outcome(function, item)
    except KeyboardInterrupt:
        os._exit(1)


def _begin() -> None:
    """Watch the parent, and silence libraries, whose messages would break the parent's progress bar."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.disable(logging.ERROR)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _end_with_parent() -> None:
    """End when the parent was killed; else the process would finish its items and wait for others for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
