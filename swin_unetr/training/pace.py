"""How fast a training goes: seconds of a step, and of the end of an epoch. Knows no torch and no clock."""

from __future__ import annotations

from dataclasses import dataclass

#: Steps over which the seconds of a step are averaged; the time of validations grows and shrinks with them.
_STEPS = 20
#: The farthest that a validation's time is scaled.
_SLOWER, _FASTER = 4.0, 0.5
#: What is kept for writing the models, as a share of the time that a validation is expected to take.
_WRITING = 0.1


@dataclass
class Pace:
    """What was timed so far.

    On a machine that becomes busy, a validation takes as much longer as the steps do.
    """

    #: Steps that were timed in this session; the first one, which takes longer, is left out of `step`.
    steps: int = 0
    #: Recent seconds of a step.
    step: float = 0.0
    #: Seconds of the end of an epoch: its validation and what is written. None if it is not known.
    closing: float | None = None
    #: Whether that is an estimate.
    estimated: bool = False
    #: Seconds of a step when `closing` was timed. None if it is not known yet.
    step_then: float | None = None
    #: Steps after which `step` says something: on an accelerator, the first ones only wait in its queue.
    reliable: int = 50

    def pause(self) -> None:
        """Begin a session: its first step takes longer."""
        self.steps = 0

    def add_step(self, seconds: float) -> None:
        """Add the time of a step."""
        self.steps += 1
        if self.steps > 1 or not self.step:
            self.step += (seconds - self.step) / max(1, min(self.steps - 1, _STEPS))
        if self.closing is not None and self.step_then is None and self.steps >= self.reliable:
            self.step_then = self.step

    def expect(self, validation: float) -> None:
        """Note how long the first validation will take, by an estimate."""
        self._note((1 + _WRITING) * validation, estimated=True)

    def close_epoch(self, seconds: float) -> None:
        """Note how long the end of an epoch took."""
        self._note(seconds, estimated=False)

    def _note(self, closing: float, *, estimated: bool) -> None:
        self.closing, self.estimated = closing, estimated
        self.step_then = self.step if self.steps >= self.reliable else None

    @property
    def closing_now(self) -> float:
        """Seconds that the end of an epoch would take now; 0 if nothing is known of it."""
        if self.closing is None or not self.step_then:
            return self.closing or 0.0
        return self.closing * min(_SLOWER, max(_FASTER, self.step / self.step_then))

    def is_due(self, spent: float, target: float) -> bool:
        """Whether an epoch that ends now ends nearer to its target than one that makes another step."""
        return spent + self.step / 2 + self.closing_now >= target
