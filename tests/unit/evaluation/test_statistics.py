"""Statistics over cases, by hand."""

import math

import pytest

from swin_unetr.evaluation.metrics import DICE, Metric
from swin_unetr.evaluation.overlap import dice
from swin_unetr.evaluation.statistics import WORST_CASES, mean_defined, summarise


def test_what_has_no_value_is_counted_and_not_averaged():
    values = {"a": 0.9, "b": math.nan, "c": 0.5, "d": 0.7}
    summary = summarise(values, structure="liver", metric=DICE, failed=2, both_empty=1)
    assert summary.mean == pytest.approx(0.7)
    assert summary.std == pytest.approx(0.2)  # sqrt((0.2² + 0.2² + 0) / 2)
    assert (summary.median, summary.minimum, summary.maximum) == (0.7, 0.5, 0.9)
    assert summary.mean_with_failures == pytest.approx(2.1 / 5)
    assert (summary.evaluated, summary.both_empty, summary.failed) == (4, 1, 2)
    assert summary.worst == (("c", 0.5), ("d", 0.7), ("a", 0.9))


def test_no_value_at_all():
    summary = summarise({"a": math.nan}, structure="liver", metric=DICE, failed=0, both_empty=1)
    for value in (summary.mean, summary.std, summary.median, summary.minimum, summary.maximum):
        assert math.isnan(value)
    assert math.isnan(summary.mean_with_failures)
    assert summary.worst == ()
    assert summarise({}, structure="liver", metric=DICE, failed=3).mean_with_failures == 0


def test_one_case_has_no_deviation():
    summary = summarise({"a": 0.25}, structure="liver", metric=DICE, failed=0)
    assert (summary.mean, summary.median) == (0.25, 0.25)
    assert math.isnan(summary.std)


def test_worst_cases_by_the_direction_of_the_metric():
    values = {f"case{number}": number / 10 for number in range(8)}
    lowest = summarise(values, structure="liver", metric=DICE, failed=0).worst
    assert [case for case, _ in lowest] == [f"case{number}" for number in range(WORST_CASES)]
    distance = Metric(name="d_mm", title="d", measure=dice, value_of_failure=374, higher_is_better=False)
    summary = summarise(values, structure="liver", metric=distance, failed=1)
    assert summary.worst[0] == ("case7", 0.7)
    assert summary.mean_with_failures == pytest.approx((2.8 + 374) / 9)


def test_mean_of_what_is_defined():
    assert mean_defined([0.5, math.nan, 1.0]) == 0.75
    assert math.isnan(mean_defined([math.nan]))
