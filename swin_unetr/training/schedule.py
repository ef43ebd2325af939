"""How much of its budget a training has spent at each step: what its learning rate, its average of weights and its
validations follow, and all that is needed to repeat it. Knows no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from swin_unetr.errors import DataError
from swin_unetr.files import write_text

#: Name of the file in a run folder.
SCHEDULE = "schedule.json"
#: A clock is read after every step, but a share holds until this much more of the budget is spent: so a record has
#: about five hundred pieces, however many steps there were.
RESOLUTION = 1 / 500
#: Share of the training that an average of the weights looks back on.
AVERAGED = 1 / 20


def rise_and_fall(spent: float, one: float, warmup: float, whole: float = 1.0) -> float:
    """Share of the full learning rate: linear warm-up, then a cosine to 0; above 0 from the first step on.

    Args:
        spent: share of a training that is spent before a step.
        one: share that the step spends.
        warmup: share in which the rate rises.
        whole: share at which the rate has fallen to 0.
    """
    if spent < warmup:
        return (spent + one) / (warmup + one)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (spent - warmup) / (whole - warmup))))


class Piece(NamedTuple):
    """From an optimiser step on, the share that is spent before each step."""

    #: Optimiser step, from 0.
    step: int
    #: Spent before this step.
    share: float
    #: Spent by each step that follows; 0 if the share holds until the next piece.
    per_step: float

    def share_at(self, step: int) -> float:
        """Spent before a step of this piece."""
        return self.share + (step - self.step) * self.per_step

    def learning_rate(self, step: int, warmup: float) -> float:
        """Share of the full learning rate at a step: linear warm-up, then a cosine that ends with the budget.

        Args:
            step: of this piece.
            warmup: share of the budget in which the rate rises.
        """
        return rise_and_fall(self.share_at(step), self.of_a_step, warmup)

    @property
    def of_a_step(self) -> float:
        """Share that a step spends, as far as it is known: at most that of the clock's resolution."""
        return self.per_step or RESOLUTION

    @property
    def decay(self) -> float:
        """Of an average of the weights that looks back on `AVERAGED` of the training, as long as it will be."""
        known = self.step and self.share
        steps = 1 / self.per_step if self.per_step else self.step / self.share if known else math.inf
        return 1 - 1 / max(1.0, AVERAGED * steps)


@dataclass
class Schedule:
    """The course of one training."""

    #: In ascending order of steps; the first begins at step 0.
    pieces: list[Piece] = field(default_factory=list)
    #: Optimiser steps after which an epoch ended, with its validation.
    ends: list[int] = field(default_factory=list)
    #: Whether the training has come to its end.
    finished: bool = False

    @classmethod
    def of_steps(cls, total: int, epochs: int) -> Schedule:
        """The schedule of a number of steps, in epochs of even length."""
        return cls([Piece(0, 0.0, 1 / total)], even_ends(0, total, epochs))

    def piece_at(self, step: int) -> Piece:
        """What holds at a step."""
        return next((piece for piece in reversed(self.pieces) if piece.step <= step), self.pieces[0])

    def extended(self, step: int, total: int, epochs: int) -> Schedule:
        """The same up to a step, and from there on that of another number of steps.

        Args:
            step: steps that are done.
            total: steps of the whole training.
            epochs: of the whole training.
        """
        done = [end for end in self.ends if end <= step]
        pieces = [piece for piece in self.pieces if piece.step < step]
        ends = done + even_ends(step, total, left_of(epochs, step / total))
        return Schedule([*pieces, Piece(step, step / total, 1 / total)], ends)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: floats as they are, to the last bit."""
        return {"finished": self.finished, "epoch_ends": self.ends, "pieces": [list(piece) for piece in self.pieces]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schedule:
        """From `to_dict`."""
        return cls([Piece(*piece) for piece in values["pieces"]], list(values["epoch_ends"]), values["finished"])

    def save(self, folder: Path) -> None:
        """Write the file of a run."""
        write_text(folder / SCHEDULE, json.dumps(self.to_dict()) + "\n")


def read_schedule(run: Path) -> Schedule:
    """The schedule of a run that came to its end.

    Args:
        run: its folder, or the file in it.

    Raises:
        DataError: there is none, or the run was stopped.
    """
    path = run / SCHEDULE if run.is_dir() else run
    try:
        schedule = Schedule.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path}: is not there; only a run with a budget of time or steps has a schedule") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is not the schedule of a run") from error
    if not schedule.finished or not schedule.pieces or not schedule.ends:
        raise DataError(f"{path}: is of a run that has not come to its end; finish it with --resume auto")
    return schedule


def even(start: float, total: float, parts: int) -> list[float]:
    """Where each of some equal parts ends."""
    return [start + (total - start) * (part + 1) / parts for part in range(parts)]


def even_ends(start: int, total: int, epochs: int) -> list[int]:
    """The same in whole steps, at least one for each part."""
    return sorted({round(end) for end in even(start, total, min(epochs, total - start))})


def left_of(epochs: int, spent: float) -> int:
    """Epochs that are left of a training of which a share is spent; at least one."""
    return max(1, round(epochs * (1 - spent)))


def without_crowded(targets: Iterable[float], epoch: int, spent: float, closing: float) -> list[float]:
    """Leave out an epoch's end after which too little time would be left for another epoch.

    Args:
        targets: seconds at which the epochs should have ended, their validations included.
        epoch: the one that is about to end.
        spent: seconds so far.
        closing: seconds that the end of an epoch takes: its validation and what is written.

    Returns:
        The targets. The last one stays.
    """
    targets = list(targets)
    if epoch + 1 < len(targets) and targets[-1] - spent < 3 * closing:
        del targets[epoch : len(targets) - 1]
    return targets


def affordable(validations: int, total: float, closing: float) -> int:
    """Validations that together take no more than a quarter of the time; at least one."""
    return max(1, min(validations, int(total / 4 / closing))) if closing > 0 else validations
