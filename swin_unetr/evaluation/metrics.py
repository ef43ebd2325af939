"""The metrics that a report holds, as a table: a further metric is a further line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from swin_unetr.evaluation.overlap import EmptyPolicy, Overlap, dice


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number for one structure of one case."""

    #: Key in the files of results; ends with the unit where there is one, as `_mm`.
    name: str
    #: Name in tables for people.
    title: str
    #: From the overlap of the two masks, under a policy for structures that are in neither.
    measure: Callable[[Overlap, EmptyPolicy], float]
    #: What a case that failed counts as, in the mean over all cases that were asked for.
    value_of_failure: float
    #: Whether the lowest values are the worst.
    higher_is_better: bool = True


DICE = Metric(name="dice", title="Dice", measure=dice, value_of_failure=0.0)

#: In the order of the reports.
METRICS: tuple[Metric, ...] = (DICE,)
