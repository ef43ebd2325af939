"""Comparisons of values by hand and by scipy: which cases count, for whom, and who is told."""

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.comparison.paired import holm
from swin_unetr.evaluation.comparison.tables import comparison_tables
from swin_unetr.evaluation.comparison.values import NOT_ASKED, compare_values


def values_of(columns, metric="dice"):
    """{structure: values by case} to the values of a method."""
    return {(f"c{case:02}", name, metric): value for name, of in columns.items() for case, value in enumerate(of)}


def test_differences_wins_and_tests_are_those_of_scipy():
    generator = np.random.default_rng(1)
    a, b, c = (generator.beta(9, 2, (2, 30)) for _ in range(3))
    b[0, 3] = math.nan
    methods = {name: values_of({"s": of[0], "t": of[1]}) for name, of in (("A", a), ("B", b), ("C", c))}
    result = compare_values(methods, ["s", "t"])
    assert [(item.structure, item.first + item.second) for item in result.differences] == [
        (structure, pair) for structure in ("mean of structures", "s", "t") for pair in ("AB", "AC", "BC")
    ]
    means, first = result.differences[0], result.differences[3]
    right = np.nan_to_num(b, nan=1.0)  # B found nothing where nothing was and A invented something
    delta = a[0] - right[0]
    assert (first.structure, first.first, first.second, first.pairs, first.undefined) == ("s", "A", "B", 30, 0)
    assert first.mean == pytest.approx(delta.mean())
    assert first.median == pytest.approx(np.median(delta))
    assert (first.first_wins, first.ties, first.second_wins) == ((delta > 0).sum(), 0, (delta < 0).sum())
    assert first.p == pytest.approx(wilcoxon(delta).pvalue)
    assert first.ci_low < delta.mean() < first.ci_high
    delta = a.mean(axis=0) - right.mean(axis=0)
    assert (means.pairs, means.undefined) == (30, 0)
    assert means.mean == pytest.approx(delta.mean())
    assert means.p == pytest.approx(wilcoxon(delta).pvalue)
    # The means are a family of their own.
    assert [item.p_holm for item in result.differences[:3]] == holm([item.p for item in result.differences[:3]])
    assert [item.p_holm for item in result.differences[3:]] == holm([item.p for item in result.differences[3:]])
    # Ranks: what is in neither mask is right.
    filled = np.stack([a, np.nan_to_num(b, nan=1.0), c])
    ranks = (filled[None] > filled[:, None]).sum(axis=1) + 1 + ((filled[None] == filled[:, None]).sum(axis=1) - 1) / 2
    expected = dict(zip("ABC", ranks.mean(axis=(1, 2)), strict=True))
    assert {item.method: item.mean_rank for item in result.rankings[0].places} == pytest.approx(expected)
    assert result.ranks["dice"].transpose(0, 2, 1) == pytest.approx(ranks)


def test_lacking_cases_are_named_and_have_the_worst_rank_or_none():
    """Of 13 cases the better one failed in one and was not asked for another; a third neither has."""
    good, bad = values_of({"s": [0.9] * 11}), values_of({"s": [0.85] * 13})
    del bad["c12", "s", "dice"]
    failures = {"good": {"c11": "is damaged", "c12": "is missing"}, "bad": {"c12": "is missing too"}}
    result = compare_values({"bad": bad, "good": good}, ["s"], failures=failures)
    assert result.cases == tuple(f"c{case:02}" for case in range(13))
    assert result.common == result.cases[:11]
    assert result.ranked == result.cases[:12]
    assert result.lacking == {"bad": {"c12": "is missing too"}, "good": failures["good"]}
    (difference,) = result.differences
    assert (difference.pairs, difference.lacking, difference.second_wins) == (11, 2, 11)
    assert [(item.method, item.mean_rank) for item in result.rankings[0].places] == [
        ("good", pytest.approx(13 / 12)),
        ("bad", pytest.approx(23 / 12)),
    ]
    assert result.rankings[1].places[0].method == "bad"  # 0.9 x 11 / 12 = 0.825
    common = compare_values({"bad": bad, "good": good}, ["s"], failures=failures, missing="common")
    assert common.ranked == result.common
    for ranking in common.rankings[:2]:
        assert [(item.method, item.place, item.stability) for item in ranking.places] == [
            ("good", 1, (1.0, 0.0)),
            ("bad", 2, (0.0, 1.0)),
        ]
    assert common.lacking == result.lacking


def test_a_case_nobody_asked_a_method_for_is_lacking_too():
    result = compare_values({"A": values_of({"s": [0.9] * 3}), "B": values_of({"s": [0.8] * 2})}, ["s"])
    assert result.lacking == {"A": {}, "B": {"c02": NOT_ASKED}}


def test_of_three_methods_a_pair_keeps_the_cases_that_the_third_lacks():
    methods = {
        name: values_of({"s": np.linspace(0.5, 0.9, number)}) for name, number in {"A": 9, "B": 9, "C": 5}.items()
    }
    assert [item.pairs for item in compare_values(methods, ["s"]).differences] == [9, 5, 5]
    assert [item.pairs for item in compare_values(methods, ["s"], missing="common").differences] == [5, 5, 5]


def test_what_the_rankings_count():
    methods = {
        name: {**values_of({"s": of}), **values_of({"s": of}, "hd_mm"), **values_of({"s": of}, "hd95_mm")}
        for name, of in (("A", [0.1, 0.2]), ("B", [0.3, 0.4]))
    }
    assert compare_values(methods, ["s"]).ranked_by == ("dice", "hd95_mm")
    result = compare_values(methods, ["s"], rank_by=["hd_mm"])
    assert [item.method for item in result.rankings[0].places] == ["A", "B"]
    with pytest.raises(ConfigError, match="'nsd' is not one of the metrics compared: dice, hd_mm, hd95_mm"):
        compare_values(methods, ["s"], rank_by=["nsd"])


def test_a_structure_that_nobody_has_says_nothing():
    nothing = values_of({"s": [math.nan] * 4, "t": [0.5, 0.6, 0.7, 0.8]})
    result = compare_values({"A": nothing, "B": nothing}, ["s", "t"])
    empty = result.differences[1]
    assert (empty.structure, empty.pairs, empty.undefined, empty.p_method) == ("s", 0, 4, None)
    assert math.isnan(empty.mean)
    assert math.isnan(empty.p_holm)
    assert result.differences[2].p == 1


def test_same_seed_same_result():
    generator = np.random.default_rng(0)
    methods = {name: values_of({"s": generator.random(40)}) for name in "ABC"}
    one, two, other = (compare_values(methods, ["s"], seed=seed) for seed in (1, 1, 2))
    assert (one.differences, one.rankings) == (two.differences, two.rankings)
    assert one.differences[0].ci_low != other.differences[0].ci_low
    assert one.rankings[0].places[0].stability != other.rankings[0].places[0].stability


def test_an_infinite_difference_reads_as_one():
    methods = {
        "A": values_of({"infarct": [math.inf] * 3}, "hd95_mm"),
        "B": values_of({"infarct": [1.0] * 3}, "hd95_mm"),
    }
    result = compare_values(methods, ["infarct"])
    rows = [row for table in comparison_tables(result, result.metrics) for row in table.rows if row[0] == "infarct"]
    assert any("+∞" in row for row in rows)
