"""Which training is planned for a time, by the seconds of a step: nothing is timed here."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.planning.grid import Grid, faster_grid
from swin_unetr.planning.length import Asked, first_with_enough_steps, steps_within
from swin_unetr.planning.target import EFFORTS

CPU = EFFORTS["cpu"]


@dataclass(frozen=True)
class Training:
    """Stands for what fits; its crop was halved so often."""

    halvings: int


def chosen(time: str, seconds: list[float]) -> tuple[int, Any]:
    """How often the crop was halved, and the length, where a step of each training takes so many seconds."""
    timed: list[int] = []

    def step_seconds(training: Any) -> float:
        timed.append(training.halvings)
        return seconds[training.halvings]

    def smaller(halvings: int) -> Any:
        return Training(halvings) if halvings < len(seconds) else None

    fitted, length = Asked(time, None, step_seconds).choose(Training(0), smaller, CPU)  # type: ignore[arg-type]
    assert timed == list(range(len(timed)))  # no more than is needed, the best first
    return fitted.halvings, length  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("time", "halvings"),
    [("2h", 0), ("90min", 0), ("60min", 1), ("30min", 2), ("15min", 3), ("1min", 3)],
)
def test_with_less_time_steps_are_smaller_so_that_there_are_enough(time: str, halvings: int) -> None:
    found, length = chosen(time, [2.8, 1.4, 0.7, 0.35])
    assert found == halvings
    assert length.value == time
    assert (length.steps >= CPU.least_steps) == (time != "1min")
    assert "timed on this machine" in length.words
    assert ("finer voxels" in length.words) == (halvings > 0)


def test_no_smaller_training_is_timed_where_there_is_time_or_there_is_none() -> None:
    assert chosen("2h", [2.8])[0] == 0
    assert chosen("1min", [2.8])[0] == 0


def test_a_smaller_training_that_is_no_faster_is_not_taken() -> None:
    assert chosen("1min", [2.8, 3.0, 2.9])[0] == 0


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=4), st.floats(1, 100_000), st.integers(1, 5000))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_first_that_makes_enough_steps_else_the_one_that_makes_most(seconds, time, least) -> None:
    index, each = first_with_enough_steps(list(enumerate(seconds)), time, least)
    enough = [place for place, of in enumerate(seconds) if steps_within(time, of) >= least]
    assert each == seconds[index]
    assert index == (enough[0] if enough else seconds.index(min(seconds)))


def test_a_number_of_steps_changes_nothing_but_the_length() -> None:
    fitted, length = Asked(None, 300).choose(Training(0), lambda _: None, CPU)  # type: ignore[arg-type]
    assert fitted == Training(0)
    assert (length.field, length.value, length.steps) == ("max_steps", 300, 300)


def test_what_cannot_be_timed_here_is_planned_as_without_a_time() -> None:
    fitted, length = Asked("10min", None).choose(Training(0), lambda _: Training(1), CPU)  # type: ignore[arg-type]
    assert fitted == Training(0)
    assert (length.field, length.value) == ("max_time", "10min")
    assert "could not be timed" in length.words


def test_voxels_grow_as_long_as_the_smallest_structure_is_seen() -> None:
    grid = Grid((2.0, 2.0, 2.0), "median of 3 scans")
    assert faster_grid(grid, 8, 0).spacing_mm == (4.0, 4.0, 4.0)
    assert faster_grid(grid, 8, 3200).spacing_mm == pytest.approx((3.175,) * 3, abs=1e-3)  # four times the volume
    assert "keeps 100 voxels" in faster_grid(grid, 8, 3200).reason
    assert faster_grid(grid, 8, 900) == grid
    assert faster_grid(Grid((1.0, 1.0, 3.0), ""), 4, 0).spacing_mm == (2.0, 2.0, 3.0)
