"""Statistics over cases, by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from swin_unetr.evaluation.metrics import DICE
from swin_unetr.evaluation.statistics import WORST_CASES, mean_defined, summarise


def test_what_has_no_value_is_counted_and_not_averaged():
    values = {"a": 0.9, "b": math.nan, "c": 0.5, "d": 0.7}
    summary = summarise(values, structure="liver", metric=DICE, failed=("x", "y"), both_empty=1)
    assert summary.mean == pytest.approx(0.7)
    assert summary.std == pytest.approx(0.2)  # sqrt((0.2² + 0.2² + 0) / 2)
    assert (summary.median, summary.minimum, summary.maximum) == (0.7, 0.5, 0.9)
    assert summary.mean_with_failures == pytest.approx(2.1 / 5)
    assert (summary.evaluated, summary.both_empty, summary.failed) == (4, 1, 2)
    assert summary.worst == (("c", 0.5), ("d", 0.7), ("a", 0.9))


def test_no_value_at_all():
    summary = summarise({"a": math.nan}, structure="liver", metric=DICE, failed=(), both_empty=1)
    for value in (summary.mean, summary.std, summary.median, summary.minimum, summary.maximum):
        assert math.isnan(value)
    assert math.isnan(summary.mean_with_failures)
    assert summary.worst == ()
    assert summarise({}, structure="liver", metric=DICE, failed=("x", "y", "z")).mean_with_failures == 0


def test_one_case_has_no_deviation():
    summary = summarise({"a": 0.25}, structure="liver", metric=DICE, failed=())
    assert (summary.mean, summary.median) == (0.25, 0.25)
    assert math.isnan(summary.std)


def test_worst_cases_by_the_direction_of_the_metric():
    values = {f"case{number}": number / 10 for number in range(8)}
    lowest = summarise(values, structure="liver", metric=DICE, failed=()).worst
    assert [case for case, _ in lowest] == [f"case{number}" for number in range(WORST_CASES)]
    distance = replace(DICE, name="d_mm", highest=math.inf, value_of_failure=374, higher_is_better=False)
    summary = summarise(values, structure="liver", metric=distance, failed=("x",))
    assert summary.worst[0] == ("case7", 0.7)
    assert summary.mean_with_failures == pytest.approx((2.8 + 374) / 9)


def test_mean_of_what_is_defined():
    assert mean_defined([0.5, math.nan, 1.0]) == 0.75
    assert math.isnan(mean_defined([math.nan]))


def test_quartiles_and_extremes_count_infinite_values_and_the_mean_does_not():
    distance = replace(DICE, name="d_mm", highest=math.inf, value_of_failure=math.inf, higher_is_better=False)
    summary = summarise(
        dict(zip("abcde", (1, 2, 3, 6, math.inf), strict=True)), structure="s", metric=distance, failed=()
    )
    assert (summary.quartile1, summary.median, summary.quartile3) == (2, 3, 6)
    assert (summary.minimum, summary.maximum, summary.infinite) == (1, math.inf, 1)
    assert summary.mean == 3
    assert math.isinf(summary.mean_with_failures)
    half = scipy.stats.t.ppf(0.975, 3) * np.std([1, 2, 3, 6], ddof=1) / 2
    assert (summary.ci_low, summary.ci_high) == (0, pytest.approx(3 + half))  # no distance is below 0
    assert summary.worst[0] == ("e", math.inf)
    halves = summarise({"a": 1.0, "b": math.inf}, structure="s", metric=distance, failed=())
    assert (halves.quartile1, halves.median) == (math.inf, math.inf)
    assert math.isnan(halves.ci_low)


def test_the_interval_is_that_of_scipy_and_of_its_seed():
    sample = np.random.default_rng(3).beta(8, 2, 40)
    values = {f"case{index}": value for index, value in enumerate(sample)}
    ours = summarise(values, structure="s", metric=DICE, failed=())
    theirs = scipy.stats.bootstrap((sample,), np.mean, n_resamples=20000, method="BCa", rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert ours.ci_low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.ci_high == pytest.approx(theirs.high, abs=0.04 * width)
    assert summarise(dict(reversed(values.items())), structure="s", metric=DICE, failed=()).ci_low == ours.ci_low
    other = summarise(values, structure="s", metric=DICE, failed=(), generator=np.random.default_rng(9))
    assert other.ci_low != ours.ci_low
    same = summarise({"a": 0.5, "b": 0.5, "c": 0.5}, structure="s", metric=DICE, failed=())
    assert (same.ci_low, same.ci_high) == (0.5, 0.5)
