"""Lengths of time as people write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.config import TrainerConfig
from swin_unetr.durations import at_least, duration_in_words, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90min", 5400),
        ("1h30min", 5400),
        ("1h 30 min", 5400),
        ("2h", 7200),
        ("20 min", 1200),
        ("45s", 45),
        ("1.5 hours", 5400),
        ("2 D", 172_800),
        ("1 minute", 60),
        (" 3min ", 180),
    ],
)
def test_a_number_with_its_unit_or_several(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "min", "0s", "-3min", "1h1h", "1 apple", "1,5h", "1h30", "1 h and 2 min"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no length of time; .* such as 90min, 1h30min or 45s"):
        parse_duration(text)


@given(st.integers(1, 3_000_000))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_words_say_the_same_to_the_minute_and_below_an_hour_to_the_second(seconds: int) -> None:
    read = parse_duration(duration_in_words(seconds))
    assert abs(read - seconds) < (60 if seconds >= 3600 else 1)


@given(st.floats(0.1, 100_000))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_least_time_is_no_shorter_and_not_much_longer(seconds: float) -> None:
    read = parse_duration(at_least(seconds))
    assert seconds <= read <= seconds + max(5, 0.5 * seconds)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_time": "soon"}, "max_time: 'soon' is no length of time"),
        ({"max_steps": 0}, "max_steps: must be positive"),
        ({"max_time": "1h", "max_steps": 5}, "max_steps: does not go with max_time"),
        ({"max_steps": 5, "schedule": "run"}, "schedule: does not go with max_steps"),
        ({"validations": 0}, "validations: must be positive"),
    ],
)
def test_a_wrong_budget_is_refused(fields, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainerConfig(**fields)
