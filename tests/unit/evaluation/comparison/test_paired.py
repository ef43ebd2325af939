"""Paired differences: Wilcoxon's test against enumeration and scipy, Holm by hand, counts by hand."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from swin_unetr.evaluation.comparison.paired import Pair, differences, holm, signed_rank, subtract
from swin_unetr.evaluation.metrics import DICE


def enumerated(delta):
    """Two-sided p over all signs, as Wilcoxon's test is defined."""
    moved = delta[delta != 0]
    ranks = rankdata(np.abs(moved))
    seen = ranks[moved > 0].sum()
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=len(ranks))])
    return min(1, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))


def test_three_differences_by_hand():
    # Ranks 1, 2, 3; all eight signs are equally likely, and a sum of 6 comes up once: 2/8.
    assert signed_rank(np.array([0.1, 0.2, 0.3])).two_sided == 0.25
    # Ranks 1.5, 1.5, 3; a sum of at least 4.5 comes up 3 times in 8: (1.5, 3) twice, (1.5, 1.5, 3) once.
    test = signed_rank(np.array([0.1, -0.1, 0.3, 0.0]))
    assert (test.greater, test.less, test.two_sided, test.method) == (3 / 8, 7 / 8, 0.75, "exact")


@pytest.mark.parametrize("count", [1, 2, 5, 9, 12])
def test_exact_with_ties_and_zeros_is_enumeration(count):
    delta = np.round(np.random.default_rng(count).normal(0.4, 1, count) * 2)
    assert signed_rank(delta).two_sided == pytest.approx(enumerated(delta), abs=1e-15)


@pytest.mark.parametrize("count", [6, 20, 42, 50, 51, 300])
def test_without_ties_it_is_scipys(count):
    delta = np.random.default_rng(count).normal(0.2, 1, count)
    ours = signed_rank(delta)
    assert ours.two_sided == pytest.approx(wilcoxon(delta).pvalue, rel=1e-12)
    assert ours.greater == pytest.approx(wilcoxon(delta, alternative="greater").pvalue, rel=1e-12)
    assert ours.less == pytest.approx(wilcoxon(delta, alternative="less").pvalue, rel=1e-12)
    assert ours.method == ("exact" if count <= 50 else "normal")


def test_many_with_ties_and_zeros_is_scipys_normal_distribution():
    delta = np.round(np.random.default_rng(0).normal(0.2, 1, 200), 1)
    assert signed_rank(delta).two_sided == pytest.approx(wilcoxon(delta, method="asymptotic").pvalue, rel=1e-12)


def test_nothing_to_test():
    assert math.isnan(signed_rank(np.zeros(0)).two_sided)
    assert signed_rank(np.zeros(4)).two_sided == 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_infinities():
    ones, others = np.array([math.inf, math.inf, 1.0, math.nan]), np.array([math.inf, 3.0, math.inf, 2.0])
    assert subtract(ones, others) == pytest.approx([0, math.inf, -math.inf, math.nan], nan_ok=True)


def test_a_distance_with_everything_that_can_happen():
    """Eleven: lacking, undefined, two infinite, a tie, a tie but for the last bit, four that differ, one invented."""
    distance = replace(DICE, name="d_mm", higher_is_better=False)
    first = np.array([9, math.nan, math.inf, math.inf, 1, 0.1 + 0.2, 1, 1, 1, 5, math.nan])
    second = np.array([9, math.nan, 2, math.inf, 1, 0.3, 2, 3, 4, 1, math.inf])
    held = np.array([False] + [True] * 10)
    (item,) = differences(distance, [Pair("s", "A", "B", first, second, held)])
    assert (item.pairs, item.patients, item.undefined, item.lacking, item.infinite) == (9, 9, 1, 1, 2)
    assert (item.first_infinite, item.second_infinite) == (1, 1)
    assert item.mean == pytest.approx((0 + 0 + 0 - 1 - 2 - 3 + 4) / 7)
    assert item.median == pytest.approx(0)
    assert (item.first_wins, item.ties, item.second_wins) == (4, 3, 2)
    # Sizes 1, 2, 3, 4, inf, inf have the ranks 1 to 4 and twice 5.5.
    assert item.p == pytest.approx(enumerated(np.array([-1, -2, -3, 4, 5, -5])))
    assert item.p_holm == item.p
    assert item.ci_low < item.mean < item.ci_high
