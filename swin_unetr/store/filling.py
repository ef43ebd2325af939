"""Work that fills a store: many scans at a time, one process at a time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from rich.progress import Progress

from swin_unetr.machine import available, cores
from swin_unetr.words import count

#: Seconds between lines on the progress.
_REPORT_EVERY = 60.0
#: Preprocessing holds this many copies of a scan in float32.
_COPIES = 6
_MOST_WORKERS = 16
T = TypeVar("T")
R = TypeVar("R")
#: Is given lines for the user.
Tell = Callable[[str], None]


def in_parallel(work: Callable[[T], R], items: Sequence[T], workers: int, tell: Tell, name: str = "cache") -> list[R]:
    """The results in order, by threads; a stop does not wait for what has not begun.

    Args:
        work: on one scan.
        items: the scans.
        workers: scans that are worked on at a time.
        tell: is given a line a minute if no terminal shows a bar.
        name: what lines begin with.
    """
    bar = sys.stdout.isatty() and tell is not quiet
    # The bar is removed at the end, whatever happens: one that stays breaks the lines that are printed after it.
    with ThreadPoolExecutor(workers) as pool, Progress(disable=not bar) as progress:
        futures = [pool.submit(work, item) for item in items]
        try:
            last = start = time.monotonic()
            shown = progress.track(as_completed(futures), description=name, total=len(items))
            for done, future in enumerate(shown, start=1):
                future.result()
                if not bar and (now := time.monotonic()) - last > _REPORT_EVERY:
                    left = (now - start) / done * (len(items) - done) / 60
                    tell(f"{name}: {done} of {count(len(items), 'scan')}, about {left:.0f} min left")
                    last = now
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def workers_for(voxels: int) -> int:
    """Scans that can be preprocessed at a time: at most one for each core, and as many as memory holds.

    Args:
        voxels: of the largest scan with all its channels, before or after preprocessing, whichever is more.
    """
    fit = available() // max(1, _COPIES * 4 * voxels)
    return max(1, min(fit, cores(), _MOST_WORKERS))


@contextmanager
def alone(folder: Path, tell: Tell, name: str = "cache") -> Iterator[bool]:
    """Wait while another process fills the folder, so that no scan is preprocessed twice.

    Yields whether it is sure that no other process does. Without locks (Windows, disks that cannot be written, and some
    network disks, for which a line says so) the work may be done twice; its result is the same.
    """
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32" or not os.access(folder, os.W_OK):
        yield False
        return
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell(f"{name}: waiting for another process that fills {folder}")
                fcntl.flock(file, fcntl.LOCK_EX)
            locked = True
        except OSError:
            locked = False
            tell(f"{name}: the disk of {folder} has no file locks; other processes that fill it do the same work again")
        yield locked


def quiet(_: str) -> None:
    """Say nothing."""
