"""The course of a training with a budget, as pure functions of what is spent."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.errors import DataError
from swin_unetr.training import warmup_cosine
from swin_unetr.training.pace import Pace
from swin_unetr.training.schedule import (
    RESOLUTION,
    SCHEDULE,
    Piece,
    Schedule,
    affordable,
    even,
    even_ends,
    left_of,
    read_schedule,
    without_crowded,
)

quick = settings(max_examples=150, deadline=None, derandomize=True)
shares = st.floats(0, 1 - RESOLUTION)


@pytest.mark.parametrize(("warmup_steps", "total"), [(0, 1), (4, 12), (10, 1000), (80, 2000)])
def test_the_rate_of_a_number_of_steps_is_that_of_as_many_steps_in_epochs(warmup_steps: int, total: int) -> None:
    piece = Schedule.of_steps(total, 1).pieces[0]
    ours = [piece.learning_rate(step, warmup_steps / total) for step in range(total)]
    theirs = [warmup_cosine(step, warmup_steps=warmup_steps, total_steps=total) for step in range(total)]
    assert ours == pytest.approx(theirs, abs=1e-9)


@quick
@given(st.lists(shares, min_size=2, max_size=30), st.floats(0, 0.9))
def test_the_rate_is_never_zero_rises_in_the_warm_up_and_then_falls(spent: list[float], warmup: float) -> None:
    rates = [(share, Piece(0, share, 0.0).learning_rate(0, warmup)) for share in sorted(spent)]
    assert all(0 < rate <= 1 for _, rate in rates)
    for (before, first), (after, second) in pairwise(rates):
        if after < warmup:
            assert first <= second
        elif before >= warmup:
            assert first >= second


def test_an_average_looks_back_on_a_twentieth_of_the_training_as_it_goes_on() -> None:
    assert Piece(0, 0.0, 1 / 2000).decay == pytest.approx(0.99)  # 2000 steps: the last hundred
    assert Piece(500, 0.25, 0.0).decay == pytest.approx(0.99)  # by the time, it will be as many
    assert Piece(0, 0.01, 0.0).decay == 1.0  # nothing is known yet: a beginning average forgets by itself
    assert Piece(3, 0.5, 0.0).decay == 0.0


@quick
@given(st.integers(1, 5000), st.integers(1, 40))
def test_epochs_of_steps_are_even_and_end_with_the_training(total: int, epochs: int) -> None:
    ends = even_ends(0, total, epochs)
    assert len(ends) == min(total, epochs)
    assert ends[-1] == total
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 2


@quick
@given(st.integers(1, 300), st.integers(1, 20), st.data())
def test_another_number_of_steps_holds_from_where_it_was_asked_for(total: int, epochs: int, data) -> None:
    done = data.draw(st.integers(0, total))
    longer = data.draw(st.integers(done + 1, 2 * total + 1))
    before, after = Schedule.of_steps(total, epochs), Schedule.of_steps(total, epochs).extended(done, longer, epochs)
    assert all(after.piece_at(step).share_at(step) == before.piece_at(step).share_at(step) for step in range(done))
    assert [end for end in after.ends if end <= done] == [end for end in before.ends if end <= done]
    assert after.ends[-1] == longer
    assert after.ends == sorted(set(after.ends))
    spent = [after.piece_at(step).share_at(step) for step in range(done, longer)]
    assert spent == pytest.approx([step / longer for step in range(done, longer)])


@quick
@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 0.1)), min_size=1), st.booleans())
def test_a_file_keeps_every_bit(pieces, finished: bool) -> None:
    schedule = Schedule([Piece(*piece) for piece in pieces], [3, 7], finished)
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


def test_only_the_schedule_of_a_finished_run_is_repeated(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"schedule\.json: is not there; only a run with a budget"):
        read_schedule(tmp_path)
    schedule = Schedule.of_steps(10, 2)
    schedule.save(tmp_path)
    with pytest.raises(DataError, match="has not come to its end"):
        read_schedule(tmp_path)
    schedule.finished = True
    schedule.save(tmp_path)
    assert read_schedule(tmp_path) == read_schedule(tmp_path / SCHEDULE) == schedule
    (tmp_path / SCHEDULE).write_text('{"pieces": 3}')
    with pytest.raises(DataError, match="is not the schedule of a run"):
        read_schedule(tmp_path)


def test_targets_are_even() -> None:
    assert even(0, 100, 4) == [25, 50, 75, 100]
    assert even(40, 100, 3) == [60, 80, 100]


@pytest.mark.parametrize(("epochs", "spent", "left"), [(5, 0.0, 5), (5, 0.4, 3), (5, 0.99, 1), (3, 0.5, 2)])
def test_epochs_are_left_in_proportion(epochs: int, spent: float, left: int) -> None:
    assert left_of(epochs, spent) == left


def test_an_end_without_time_for_another_epoch_is_left_out() -> None:
    targets = [25.0, 50.0, 75.0, 100.0]
    assert without_crowded(targets, 2, 70, 5) == targets
    assert without_crowded(targets, 2, 70, 15) == [25, 50, 100]  # 30 seconds for two validations and steps
    assert without_crowded(targets, 1, 60, 15) == [25, 100]
    assert without_crowded(targets, 3, 90, 15) == targets  # the last one stays
    assert without_crowded(targets, 2, 99, 0) == targets


@pytest.mark.parametrize(("closing", "number"), [(1, 5), (10, 2), (14, 1), (99, 1), (0, 5)])
def test_validations_take_a_quarter_of_the_time_at_most(closing: float, number: int) -> None:
    assert affordable(5, 100, closing) == number


def test_a_pace_leaves_out_the_first_step_and_follows_the_others() -> None:
    pace = Pace()
    pace.add_step(30)
    assert pace.step == 30
    for _ in range(10):
        pace.add_step(2)
    assert pace.step == pytest.approx(2)
    for _ in range(400):
        pace.add_step(3)
    assert pace.step == pytest.approx(3, rel=1e-2)


def test_a_validation_takes_longer_as_steps_do() -> None:
    pace = Pace()
    for _ in range(60):
        pace.add_step(1)
    pace.close_epoch(20)
    assert pace.closing_now == pytest.approx(20)
    for _ in range(500):
        pace.add_step(2)
    assert pace.closing_now == pytest.approx(40, rel=1e-2)
    for _ in range(2000):
        pace.add_step(0.01)
    assert pace.closing_now == 10  # an odd step must not take the time of a validation away


@quick
@given(st.floats(0.01, 5), st.floats(0, 60), st.floats(100, 1000))
def test_an_epoch_ends_nearer_to_its_target_than_half_a_step(step: float, closing: float, target: float) -> None:
    pace, spent = Pace(), 0.0
    pace.expect(closing / 1.1)
    while True:
        spent += step
        pace.add_step(step)
        if pace.is_due(spent, target):
            break
    assert abs(spent + closing - target) <= step / 2 + 1e-6
