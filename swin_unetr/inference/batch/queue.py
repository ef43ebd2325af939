"""The cases of a run (or the cells of a study), one at a time, shared with other processes that write into its folder.

Whoever holds the lock `<output>/.queue/<case>.lock` works on the case; the system releases the lock of a process
that dies, so nothing has to be cleaned up after one. On a disk without such locks nothing is shared.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from filelock import FileLock, Timeout

from swin_unetr.inference.batch.parts import Named

T = TypeVar("T", bound=Named)

#: Folder of the locks, in that of the results.
QUEUE = ".queue"
#: Between two looks at cases that other processes work on.
_WAIT_SECONDS = 0.5


class Claim(Generic[T]):
    """A case that nobody else works on until it is released."""

    def __init__(self, case: T, lock: FileLock | None) -> None:
        self.case = case
        self._lock = lock

    @property
    def is_held(self) -> bool:
        """Whether others are kept away."""
        return self._lock is not None and self._lock.is_locked

    def release(self) -> None:
        """Leave the case to others; a second call does nothing. May be called in another thread."""
        if self._lock is not None and self._lock.is_locked:
            with suppress(OSError):  # Windows removes no open file
                Path(self._lock.lock_file).unlink()  # while it is held: filelock notices when it opened a removed file
            self._lock.release()


class CaseQueue(Generic[T]):
    """Hands out cases that are not done, first come first served.

    Args:
        output: folder of the results, which the processes share.
        cases: the cases in the order in which they are wanted.
        is_done: whether a case has its result.
        on_done_elsewhere: called with a case that another process has done.
        locks: whether the folder's disk has locks; without them no other process may have the same cases.
    """

    def __init__(
        self,
        output: Path,
        cases: Iterable[T],
        is_done: Callable[[T], bool],
        on_done_elsewhere: Callable[[T], None] = lambda case: None,
        *,
        locks: bool = True,
    ) -> None:
        self._folder = output / QUEUE
        self._locks = locks
        self._fresh = deque(cases)
        #: Cases that were locked by another process when it was their turn.
        self._set_aside: deque[T] = deque()
        self._claims: list[Claim[T]] = []
        self._is_done = is_done
        self._on_done_elsewhere = on_done_elsewhere

    def __enter__(self) -> CaseQueue[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for claim in self._claims:
            claim.release()
        for path in self._folder.glob("*.lock"):  # also of cases that are done: their process may have been killed
            self._remove_unless_held(path)
        with suppress(OSError):  # not empty: others are still working
            self._folder.rmdir()

    def take(self, *, wait: bool) -> Claim[T] | None:
        """The next case, locked.

        Args:
            wait: whether to wait for cases that others work on, in case these processes fail or end.

        Returns:
            None if no case is left; without `wait`, also if other processes hold all that are left.
        """
        for _ in range(len(self._set_aside)):  # so that progress counts those that are done by now
            case = self._set_aside.popleft()
            self._on_done_elsewhere(case) if self._is_done(case) else self._set_aside.append(case)
        while self._fresh:
            if claim := self._try(self._fresh.popleft()):
                return claim
        while wait and self._set_aside:
            for _ in range(len(self._set_aside)):
                if claim := self._try(self._set_aside.popleft()):
                    return claim
            if self._set_aside:
                time.sleep(_WAIT_SECONDS)
        return None

    def _path(self, case: T) -> Path:
        return self._folder / f"{case.id}.lock"

    @staticmethod
    def _remove_unless_held(path: Path) -> None:
        """Remove the lock of a process that was killed, perhaps when its case was done."""
        lock = FileLock(path, thread_local=False)
        with suppress(OSError, Timeout):
            lock.acquire(blocking=False)
            path.unlink()
        lock.release()

    def _try(self, case: T) -> Claim[T] | None:
        """Claim a case, unless it is done or another process works on it."""
        lock = FileLock(self._path(case), thread_local=False) if self._locks else None
        claim = Claim(case, lock)
        if lock is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(blocking=False)
            except Timeout:
                self._set_aside.append(case)
                return None
        if self._is_done(case):  # only now, when nobody else can be about to finish it
            claim.release()
            self._on_done_elsewhere(case)
            return None
        self._claims = [held for held in self._claims if held.is_held] + [claim]
        return claim
