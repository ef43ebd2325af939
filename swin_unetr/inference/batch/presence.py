"""Shows in the folder of the results which processes work there and by which method: never two methods at a time.

Each process holds a lock of its own for as long as it works; a file beside the lock has its method. The system
releases the lock of a process that dies, and the next process removes what it left.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from swin_unetr.errors import ConfigError
from swin_unetr.files import can_lock
from swin_unetr.inference.batch.output import in_words
from swin_unetr.inference.batch.parts import Part
from swin_unetr.inference.batch.queue import QUEUE
from swin_unetr.inference.batch.record import Records

_LOCK, _METHOD = ".running", ".method"


def has_locks(output: Path, part: Part | None) -> bool:
    """Make a folder, and say whether processes can share the cases in it.

    Raises:
        ConfigError: they cannot, and no part says which cases are this process's own.
        OSError: the folder cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    if can_lock(output):
        return True
    if part is None:
        raise ConfigError(
            f"output: the disk of {output} has no file locks (flock), so that processes cannot share cases there; give "
            "each process its part with --part K/N (a single one --part 1/1), or name a folder on another disk"
        )
    return False


@contextmanager
def registered(records: Records, check: Callable[[], None]) -> Iterator[None]:
    """Register this process in the folder of the results; the disk must have locks.

    Args:
        records: of the run.
        check: is called while no other process can begin; it may refuse, and write the record of the run.

    Raises:
        ConfigError: another method is running there.
    """
    folder = records.output / QUEUE
    own = FileLock(folder / f"{secrets.token_hex(8)}{_LOCK}", thread_local=False)
    method = Path(own.lock_file).with_suffix(_METHOD)
    try:
        with _one_at_a_time(folder):
            for other in _running(folder):
                if other.get("key") != records.key:
                    raise ConfigError(
                        f"output: {in_words(other, records)} is running in {records.output}; wait for it, or name "
                        "another --output"
                    )
            check()
            own.acquire(blocking=False)
            method.write_text(json.dumps({"key": records.key, "method": records.method}), encoding="utf-8")
        yield
    finally:
        for path in (method, Path(own.lock_file)):
            with suppress(OSError):
                path.unlink()
        own.release()
        with suppress(OSError):  # not empty: others are still working
            folder.rmdir()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    guard = FileLock(folder / ".guard", thread_local=False)
    with guard:
        try:
            yield
        finally:
            with suppress(OSError):
                (folder / ".guard").unlink()  # while it is held: who waits notices that it opened a removed file


def _running(folder: Path) -> Iterator[dict[str, Any]]:
    """The methods of the processes that work; what dead processes have left is removed."""
    for path in sorted(folder.glob(f"*{_LOCK}")):
        method = path.with_suffix(_METHOD)
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            with suppress(OSError, ValueError):  # it has ended meanwhile
                yield json.loads(method.read_text(encoding="utf-8"))
            continue
        for left in (method, path):
            left.unlink(missing_ok=True)
        lock.release()
