"""Comparisons by hand and by scipy."""

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from swin_unetr.evaluation.compare import compare_values, holm


def values_of(columns):
    """{structure: values by case} to the values of a method."""
    return {(f"c{case:02}", name, "dice"): value for name, of in columns.items() for case, value in enumerate(of)}


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_differences_wins_and_tests_are_those_of_scipy():
    generator = np.random.default_rng(1)
    a, b, c = (generator.beta(9, 2, (2, 30)) for _ in range(3))
    b[0, :3] = a[0, :3]
    b[0, 3] = math.nan
    methods = {name: values_of({"s": of[0], "t": of[1]}) for name, of in (("A", a), ("B", b), ("C", c))}
    result = compare_values(methods, ["s", "t"])
    assert len(result.differences) == 6
    first = result.differences[0]
    delta = np.delete(a[0] - b[0], 3)
    assert (first.structure, first.first, first.second, first.pairs, first.undefined) == ("s", "A", "B", 29, 1)
    assert first.mean == pytest.approx(delta.mean())
    assert first.median == pytest.approx(np.median(delta))
    assert (first.first_wins, first.ties, first.second_wins) == ((delta > 0).sum(), 3, (delta < 0).sum())
    assert first.p == pytest.approx(wilcoxon(delta).pvalue)
    assert first.ci_low < delta.mean() < first.ci_high
    assert [item.p_holm for item in result.differences] == holm([item.p for item in result.differences])
    # Ranks: what is in neither mask is right.
    filled = np.stack([a, np.nan_to_num(b, nan=1.0), c])
    ranks = (filled[None] > filled[:, None]).sum(axis=1) + 1 + ((filled[None] == filled[:, None]).sum(axis=1) - 1) / 2
    expected = dict(zip("ABC", ranks.mean(axis=(1, 2)), strict=True))
    assert {item.method: item.mean_rank for item in result.ranking} == pytest.approx(expected)
    assert [item.place for item in result.ranking] == [1, 2, 3]
    assert np.sum([item.stability for item in result.ranking]) == pytest.approx(3)


def test_the_better_one_is_first_in_every_resample_and_lacking_cases_are_named():
    good, bad = values_of({"s": [0.9] * 12}), values_of({"s": [0.8] * 11})
    result = compare_values({"bad": bad, "good": good}, ["s"])
    assert [(item.method, item.place, item.stability) for item in result.ranking] == [
        ("good", 1, (1.0, 0.0)),
        ("bad", 2, (0.0, 1.0)),
    ]
    assert result.left_out == {"c11": ("bad",)}
    assert len(result.cases) == 11
    same = compare_values({"a": good, "b": good}, ["s"])
    assert [item.place for item in same.ranking] == [1, 1]
    assert same.differences[0].p == 1
