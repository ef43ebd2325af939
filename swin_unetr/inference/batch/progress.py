"""What a person sees while cases are segmented: windows of the case, cases of the batch, time left."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from threading import Lock
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

#: If there is no terminal: seconds without a line after which one says how far the case is.
_QUIET_SECONDS = 60.0


class PredictionProgress:
    """Two bars on a terminal; everywhere one line for each case. Its methods may be called in any thread.

    Of the processes that torchrun starts, the first alone has bars: they share the terminal.

    Args:
        total: cases to come.
        shown: whether to write anything.
        console: where to write. If None, to standard error.
    """

    def __init__(self, total: int, *, shown: bool = True, console: Console | None = None) -> None:
        self._total = total
        self._shown = shown
        self._console = console or Console(stderr=True)
        self._started_at = self._wrote_at = time.monotonic()
        self._lock = Lock()
        self._done = 0
        self._pieces = 0
        #: Cases under way: the share of their windows that is done.
        self._shares: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
            disable=not (shown and self._console.is_terminal and os.environ.get("LOCAL_RANK", "0") == "0"),
        )
        self._case = self._bars.add_task("", total=None, text="", visible=False)
        self._cases = self._bars.add_task("all cases", total=total, text="")

    def __enter__(self) -> PredictionProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        """A line of its own."""
        if self._shown:
            self._wrote_at = time.monotonic()
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, case: str, plan: str, pieces: int) -> None:
        """The network begins with a case.

        Args:
            case: its id.
            plan: how it will be computed; written where there are more or fewer pieces than for the case before.
            pieces: in how many.
        """
        if pieces != self._pieces:
            self._pieces = pieces
            self.note(f"plan: {plan}")
        self._bars.reset(self._case, description=case, total=None, text="", visible=True)

    def windows(self, case: str, done: int, total: int) -> None:
        """Show how many windows of the case are done; after the last one the case is written."""
        with self._lock:
            self._shares[case] = done / total if total else 1.0
            text = f"window {done}/{total}" if done < total else "writing"
            self._bars.update(self._case, completed=done, total=total, text=text)
            self._bars.update(self._cases, completed=self._cases_done, text=self._overall())
            quiet = not self._console.is_terminal and time.monotonic() - self._wrote_at > _QUIET_SECONDS
            if quiet and done < total:
                self.note(f"{case}: {text}{self._time_left()}")

    def end(self, case: str, outcome: str) -> None:
        """A case is done, or failed.

        Args:
            case: its id.
            outcome: how long it took, or why it failed.
        """
        with self._lock:
            self._done += 1
            self._shares.pop(case, None)
            self._bars.update(self._cases, completed=self._cases_done, text=self._overall())
            self.note(f"{self._done}/{self._total} {case}: {outcome}{self._time_left()}")

    @property
    def _cases_done(self) -> float:
        return self._done + sum(self._shares.values())

    def _overall(self) -> str:
        return f"{self._done}/{self._total}{self._time_left()}"

    def _time_left(self) -> str:
        """From the pace so far; empty if no pace is known or nothing is left."""
        cases = self._cases_done
        if not 0 < cases < self._total:
            return ""
        left = (time.monotonic() - self._started_at) / cases * (self._total - cases)
        return f"  {timedelta(seconds=round(left))} left"
