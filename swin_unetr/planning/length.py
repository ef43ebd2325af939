"""How long a planned training lasts, if a person says it: which training makes enough steps in the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

from swin_unetr.durations import parse_duration
from swin_unetr.planning.choices import Choice
from swin_unetr.planning.fit import Fitted
from swin_unetr.planning.target import Effort

#: Share of the time that steps take; the rest is for reading, validations and what is written.
_STEPS_SHARE = 0.8
#: How often the voxels of a crop may be halved for the sake of time.
_MOST_HALVINGS = 3

T = TypeVar("T")


@dataclass(frozen=True)
class Length:
    """The length of a training.

    Attributes:
        steps: of the optimiser; expected, if a time was asked for.
        field: of the trainer, which takes the `value` that was asked for.
        words: the reason beside it.
    """

    steps: int
    field: str
    value: str | int
    words: str

    def choice(self) -> Choice:
        """The field of the recipe."""
        return Choice(f"trainer.{self.field}", self.value, self.words)


@dataclass(frozen=True)
class Asked:
    """How long a person wants to train: for a time, or for a number of steps.

    Attributes:
        time: such as "90min"; None if `steps` are given.
        steps: of the optimiser.
        step_seconds: times a step of a training on this machine. If None, it cannot.
    """

    time: str | None
    steps: int | None
    step_seconds: Callable[[Fitted], float] | None = None

    def choose(self, fitted: Fitted, smaller: Callable[[int], Fitted | None], effort: Effort) -> tuple[Fitted, Length]:
        """The training that suits the length.

        Args:
            fitted: the best that fits into the memory.
            smaller: gives one whose crops have half the voxels, a quarter and so on; None if there is none.
            effort: of the device.
        """
        if self.time is None:
            steps = self.steps or effort.steps
            return fitted, Length(steps, "max_steps", steps, "as asked for")
        if self.step_seconds is None:
            words = "as asked for; how many steps that are could not be timed on this machine"
            return fitted, Length(effort.steps, "max_time", self.time, words)
        seconds = parse_duration(self.time)
        chosen, each = first_with_enough_steps(self._timed(fitted, smaller), seconds, effort.least_steps)
        steps = steps_within(seconds, each)
        words = f"as asked for: about {steps:,} steps of {each:.2g} s, timed on this machine, and the validations"
        if chosen is not fitted:
            words += f"; finer voxels and a larger network would make fewer than {effort.least_steps:,}"
        return chosen, Length(steps, "max_time", self.time, words)

    def _timed(self, fitted: Fitted, smaller: Callable[[int], Fitted | None]) -> Iterator[tuple[Fitted, float]]:
        assert self.step_seconds is not None
        yield fitted, self.step_seconds(fitted)
        for found in takewhile(lambda found: found is not None, map(smaller, range(1, _MOST_HALVINGS + 1))):
            assert found is not None
            yield found, self.step_seconds(found)


def steps_within(seconds: float, step_seconds: float) -> int:
    """Steps that fit into a time, beside all else; at least one."""
    return max(1, int(_STEPS_SHARE * seconds / step_seconds))


def first_with_enough_steps(trainings: Iterable[tuple[T, float]], seconds: float, least: int) -> tuple[T, float]:
    """The best training that makes enough steps in the time: many steps of a smaller one are worth more than few.

    Args:
        trainings: what can be trained, the best first, each with the seconds of a step. They are taken one by one, as
            each has to be timed.
        seconds: of the whole training.
        least: steps that are enough.

    Returns:
        The first that makes so many; if none does, the one that makes most.
    """
    fastest: tuple[T, float] | None = None
    for training, each in trainings:
        if fastest is None or each < fastest[1]:
            fastest = training, each
        if steps_within(seconds, each) >= least:
            return training, each
    assert fastest is not None  # there is at least one
    return fastest
