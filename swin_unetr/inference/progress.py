"""What a person sees while cases are segmented: windows of the case, cases of the batch, time left."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class PredictionProgress:
    """Two bars on a terminal; everywhere one line for each case.

    Args:
        total: cases to come.
        shown: whether to write anything.
        console: where to write; none writes to standard error.
    """

    def __init__(self, total: int, *, shown: bool = True, console: Console | None = None) -> None:
        self._total = total
        self._shown = shown
        self._console = console or Console(stderr=True)
        self._started_at = time.monotonic()
        self._done = 0
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
            disable=not (shown and self._console.is_terminal),
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

    def start(self, case: str) -> None:
        """A case is being read."""
        self._bars.reset(self._case, description=case, total=None, text="reading", visible=True)

    def windows(self, done: int, total: int) -> None:
        """So many windows of the case are done; after the last it is brought back to its grid and written."""
        text = f"window {done}/{total}" if done < total else "writing"
        self._bars.update(self._case, completed=done, total=total, text=text)
        cases = self._done + done / total
        self._bars.update(self._cases, completed=cases, text=f"{self._done}/{self._total}  {self._time_left(cases)}")

    def end(self, case: str, outcome: str) -> None:
        """A case is done, or failed.

        Args:
            case: its id.
            outcome: how long it took, or why it failed.
        """
        self._done += 1
        left = f"  {self._time_left(self._done)}" if self._done < self._total else ""
        self._bars.update(self._cases, completed=self._done, text=f"{self._done}/{self._total}{left}")
        if self._shown:
            line = f"{self._done}/{self._total} {case}: {outcome}{left}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _time_left(self, cases: float) -> str:
        left = (time.monotonic() - self._started_at) / cases * (self._total - cases)
        return f"{timedelta(seconds=round(left))} left"
