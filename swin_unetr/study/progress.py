"""What a person sees while a study runs: a line when a cell begins and one when it ends, with the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from swin_unetr.evaluation.statistics import mean_defined
from swin_unetr.study.cells import Cell
from swin_unetr.study.results import Result


class StudyProgress:
    """Lines on standard output.

    Args:
        cells: those of this process.
        kept: how many of them are finished already.
        shown: whether to write anything.
    """

    def __init__(self, cells: Sequence[Cell], kept: int, *, shown: bool) -> None:
        self._left = list(cells)
        self._total, self._shown = len(cells), shown
        self._seconds: dict[str, list[float]] = {}
        self._began = time.monotonic()
        if kept:
            self.note(f"{kept} of {len(cells)} cells are finished and are kept")

    def note(self, text: str) -> None:
        """A line of its own."""
        if self._shown:
            print(text, flush=True)

    def begin(self, cell: Cell, log: Path) -> None:
        """A cell begins."""
        self._began = time.monotonic()
        self.note(f"[{self._number}/{self._total}] {cell}: its output is in {log}")

    def end(self, cell: Cell, result: Result | None, cause: str = "") -> None:
        """A cell is done, or failed.

        Args:
            cell: which one.
            result: of it. If None, it failed.
            cause: why it failed.
        """
        seconds = time.monotonic() - self._began
        self._seconds.setdefault(cell.arm, []).append(seconds)
        number = self._number
        self._left.remove(cell)
        words = f"failed: {cause}" if result is None else f"Dice {mean_dice(result):.4f}"
        self.note(f"[{number}/{self._total}] {cell}: {words}, {_time(seconds)}{self._time_left()}")

    def elsewhere(self, cell: Cell) -> None:
        """A cell was done before, or by another process."""
        self._left.remove(cell)

    @property
    def _number(self) -> int:
        return self._total - len(self._left) + 1

    def _time_left(self) -> str:
        """By the cells of the same arm; of an arm without one, by all."""
        if not self._left:
            return ""
        every = [of for each in self._seconds.values() for of in each]
        left = sum(_mean(self._seconds.get(cell.arm) or every) for cell in self._left)
        return f"; {_time(left)} left"


def mean_dice(result: Result) -> float:
    """Mean over the test cases of the mean over structures."""
    return mean_defined(mean_defined(of.values()) for of in result.values["dice"].values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
