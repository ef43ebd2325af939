"""Which of the models that a training validates is the one to keep."""

from __future__ import annotations

import math

#: Share of the newest validation in the smoothed score; the rest is the smoothed score before it.
NEWEST = 0.5
#: A training has collapsed if its smoothed score ends this much below the highest.
COLLAPSE = 0.05

#: Why a model was kept, for people and for `run.json`.
HIGHEST = "highest score so far"
END = "end of training"
NO_SCORE = "no validation case gives a score to choose by: the last epoch"


class SmoothedScore:
    """Exponential moving average of the scores of validations; the first one starts it.

    Attributes:
        value: the average of all scores so far that are numbers; NaN before the first.
    """

    def __init__(self, value: float = math.nan) -> None:
        self.value = value

    def add(self, score: float) -> float:
        """Add a score and return the average; NaN if the score is NaN, which the average then ignores."""
        if math.isnan(score):
            return math.nan
        self.value = score if math.isnan(self.value) else NEWEST * score + (1 - NEWEST) * self.value
        return self.value


def reason_to_keep(score: float, best: float, *, ends: bool) -> str | None:
    """Why the model that was just validated replaces the one that is kept; None if it does not.

    Args:
        score: its smoothed score; higher is better, NaN if there is none.
        best: that of the model that is kept; NaN if there is no model or it has no score.
        ends: whether the training ends with this validation.
    """
    if math.isnan(best):
        return NO_SCORE if math.isnan(score) else END if ends else HIGHEST
    if ends and score >= best - COLLAPSE:  # false for NaN
        return END
    return HIGHEST if score > best else None
