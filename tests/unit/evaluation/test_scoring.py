"""What a score over cases is: by hand, and by properties that must hold whatever the values are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.evaluation.bootstrap import BOOTSTRAP_FROM, mean_interval
from swin_unetr.evaluation.comparison.tables import comparison_tables, counts_line, too_few
from swin_unetr.evaluation.comparison.values import compare_values
from swin_unetr.evaluation.metrics import DICE, METRICS
from swin_unetr.evaluation.scoring import (
    LEAST_PATIENTS,
    least_p,
    mean_over,
    patient_indices,
    patient_means,
    rank_means,
    scoring_text,
    settled,
)
from swin_unetr.evaluation.statistics import summarise

NAN, INF = math.nan, math.inf


def of_cases(metric, *columns, structures="s"):
    """Values of a method: one column of cases for every structure."""
    return {
        (f"c{case:03}", name, metric): value
        for name, column in zip(structures, columns, strict=True)
        for case, value in enumerate(column)
    }


def healthy_cases():
    """Twenty cases with a tumour, in which B is ahead by 0.004, and eighty without, in all of which B invents one."""
    generator = np.random.default_rng(0)
    found = generator.beta(9, 2, 20)
    dice = [*(found - 0.004), *[NAN] * 80], [*found, *[0.0] * 80]
    far = [*(10 * (1 - found) + 0.1), *[NAN] * 80], [*(10 * (1 - found)), *[INF] * 80]
    near = [*(found - 0.004), *[NAN] * 80], [*found, *[0.0] * 80]
    return {
        name: of_cases("dice", one) | of_cases("hd95_mm", two) | of_cases("nsd", three)
        for name, one, two, three in zip("AB", dice, far, near, strict=True)
    }


def test_who_invents_in_healthy_cases_is_last_in_every_ranking_and_table():
    result = compare_values(healthy_cases(), ["s"])
    for ranking in result.rankings:
        assert [place.method for place in ranking.places if place.place == 1] == ["A"], ranking.scheme
    for ranking in result.rankings[:2]:
        assert ranking.places[0].stability[0] > 0.999
    for item in result.differences:
        assert (item.pairs, item.undefined, item.first_wins, item.second_wins) == (100, 0, 80, 20), item.metric
        assert item.p < 1e-9
    dice, far, near = result.differences
    assert dice.mean == near.mean == pytest.approx((80 - 20 * 0.004) / 100)
    assert dice.ci_low > 0.7
    assert (far.median, far.infinite, far.first_infinite, far.second_infinite) == (-INF, 80, 0, 80)
    table = comparison_tables(result, result.metrics)[-2]
    assert "(of 20; B ∞ in 80)" in table.rows[0][2]


def test_who_misses_structures_does_not_look_better():
    """A is 3 mm off in all of five; B is 2 mm off in two, and misses three."""
    a, b = of_cases("hd95_mm", [3.0] * 5), of_cases("hd95_mm", [2.0] * 2 + [INF] * 3)
    result = compare_values({"A": a, "B": b}, ["s"])
    (item,) = result.differences
    assert (item.mean, item.median, item.first_wins, item.second_wins) == (1, -INF, 3, 2)
    assert (item.infinite, item.second_infinite) == (3, 3)
    assert [place.method for place in result.rankings[0].places] == ["A", "B"]
    assert [place.method for place in result.rankings[1].places] == ["A", "B"]
    assert "+1.0000 (of 2; B ∞ in 3)" in comparison_tables(result, result.metrics)[-1].rows[0]


def test_of_two_that_miss_the_one_that_misses_more_is_last():
    a, b = of_cases("hd95_mm", [9.0] * 9 + [INF]), of_cases("hd95_mm", [1.0] * 5 + [INF] * 5)
    means = compare_values({"A": a, "B": b}, ["s"]).rankings[1]
    assert [(place.method, place.place) for place in means.places] == [("A", 1), ("B", 2)]
    # With as many, the mean of the others decides.
    a, b = of_cases("hd95_mm", [2.0] * 9 + [INF]), of_cases("hd95_mm", [INF] + [1.0] * 9)
    means = compare_values({"A": a, "B": b}, ["s"]).rankings[1]
    assert [(place.method, place.place) for place in means.places] == [("B", 1), ("A", 2)]


def test_the_mean_of_structures_is_over_the_same_structures_for_both():
    """B invents t in the first case: A's mean there is that of 0.8 and 1, not 0.8 alone."""
    a = of_cases("dice", [0.8, 0.8], [NAN, 0.5], structures="st")
    b = of_cases("dice", [0.9, 0.9], [0.0, 0.5], structures="st")
    item = compare_values({"A": a, "B": b}, ["s", "t"]).differences[0]
    assert item.mean == pytest.approx(((0.9 - 0.45) + (0.65 - 0.7)) / 2)


def test_who_misses_more_structures_of_a_case_is_worse_there():
    a = of_cases("hd95_mm", [INF], [1.0], [5.0], structures="stu")
    b = of_cases("hd95_mm", [1.0], [INF], [INF], structures="stu")
    item = compare_values({"A": a, "B": b}, ["s", "t", "u"]).differences[0]
    assert (item.median, item.first_wins, item.second_infinite) == (-INF, 1, 1)


def test_a_third_method_does_not_change_a_pair():
    two = {"A": of_cases("dice", [0.9, NAN, 0.7]), "B": of_cases("dice", [0.8, NAN, 0.9])}
    three = two | {"C": of_cases("dice", [0.1, 0.0, 0.2])}
    one, other = (compare_values(methods, ["s"]).differences[0] for methods in (two, three))
    assert (one.pairs, one.undefined, one.mean) == (other.pairs, other.undefined, other.mean) == (2, 1, one.mean)


def test_a_structure_in_no_mask_has_no_rank():
    result = compare_values({"A": of_cases("dice", [0.9, NAN]), "B": of_cases("dice", [0.8, NAN])}, ["s"])
    assert result.ranks["dice"][:, :, 0].tolist()[0][0] == 1
    assert np.isnan(result.ranks["dice"][:, 1]).all()
    assert result.rankings[0].places[0].mean_rank == 1


def test_patients_are_the_unit():
    """One patient with four scans in which B is better, three with one each in which A is."""
    patients = {"c000": "p", "c001": "p", "c002": "p", "c003": "p"}
    a, b = of_cases("dice", [0.5] * 4 + [0.8] * 3), of_cases("dice", [0.6] * 4 + [0.7] * 3)
    alone, together = (compare_values({"A": a, "B": b}, ["s"], patients=of) for of in (None, patients))
    assert (alone.differences[0].patients, together.differences[0].patients) == (7, 4)
    assert alone.differences[0].mean == pytest.approx(-0.1 / 7)
    item = together.differences[0]
    assert (item.pairs, item.first_wins, item.second_wins) == (7, 3, 1)
    assert item.mean == pytest.approx(0.05)
    for index in (0, 1):
        assert alone.rankings[index].places[0].method == "B"
        assert together.rankings[index].places[0].method == "A"
    assert counts_line(together) == "2 methods, 7 scans of 4 patients that all have."
    summary = summarise({case: value for (case, _, _), value in a.items()}, structure="s", metric=DICE, failed=(),
                        patients=patients)  # fmt: skip
    assert summary.mean == pytest.approx((0.5 + 3 * 0.8) / 4)
    assert (summary.evaluated, summary.patients) == (7, 4)


def test_a_failed_scan_takes_its_part_of_its_patient():
    values, patients = {"a": 0.8, "b": 0.6}, {"a": "p", "x": "p"}
    summary = summarise(values, structure="s", metric=DICE, failed=("x",), patients=patients)
    assert summary.mean == pytest.approx(0.7)
    assert summary.mean_with_failures == pytest.approx((0.4 + 0.6) / 2)


def test_intervals_are_students_for_few_and_none_for_one():
    sample = np.array([0.6, 0.7, 0.8, 0.9])
    low, high = mean_interval(sample, np.random.default_rng(0))
    half = 3.182446305284263 * sample.std(ddof=1) / 2
    assert (low, high) == (pytest.approx(0.75 - half), pytest.approx(0.75 + half))
    assert all(map(math.isnan, mean_interval(sample[:1], np.random.default_rng(0))))
    few, many = (np.random.default_rng(2).beta(9, 2, size) for size in (BOOTSTRAP_FROM - 1, BOOTSTRAP_FROM))
    assert mean_interval(few, np.random.default_rng(0)) == mean_interval(few, np.random.default_rng(1))
    assert mean_interval(many, np.random.default_rng(0)) != mean_interval(many, np.random.default_rng(1))


def test_few_patients_can_prove_nothing_and_the_tables_say_so():
    assert [least_p(number) for number in (1, 4, 5, 6)] == [1, 0.125, 0.0625, 0.03125]
    assert LEAST_PATIENTS == 6
    methods = {"A": of_cases("dice", [0.9] * 4), "B": of_cases("dice", [0.5] * 4)}
    result = compare_values(methods, ["s"])
    assert result.differences[0].p == result.differences[0].p_least == 0.125
    assert too_few(result).startswith("Differences of 4 patients cannot reach p < 0.05: the least p")
    enough = compare_values({name: of_cases("dice", [0.5] * 6) for name in "AB"}, ["s"])
    assert too_few(enough) == ""


def test_a_number_and_its_noun():
    one = compare_values({name: of_cases("dice", [value]) for name, value in (("A", 0.5), ("B", 0.4))}, ["s"])
    assert counts_line(one) == "2 methods, 1 case that all have."
    assert "Differences of 1 patient cannot" in too_few(one)


values_of_cases = st.lists(st.sampled_from([NAN, 0.0, 0.25, 0.5, 1.0, 3.0, INF]), min_size=6, max_size=6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(values_of_cases, values_of_cases, st.integers(0, 5))
def test_missing_a_structure_never_helps(first, second, missed):
    """A value of a distance that becomes infinite does not make a method's places better."""
    methods = {"A": of_cases("hd95_mm", first), "B": of_cases("hd95_mm", second)}
    worse = methods | {"A": of_cases("hd95_mm", [INF if case == missed else value for case, value in enumerate(first)])}
    before, after = (compare_values(of, ["s"]) for of in (methods, worse))
    for one, other in zip(before.rankings, after.rankings, strict=False):
        if one.scheme != "test_then_rank":  # of which the power changes with the number of ties
            places = ({place.method: place.place for place in ranking.places} for ranking in (one, other))
            assert next(places)["A"] <= next(places)["A"]
    if before.differences and after.differences:
        assert after.differences[0].first_wins <= before.differences[0].first_wins
        assert after.differences[0].second_wins >= before.differences[0].second_wins


@settings(max_examples=20, deadline=None, derandomize=True)
@given(values_of_cases, values_of_cases)
def test_exchanging_the_methods_exchanges_the_result(first, second):
    methods = {"A": of_cases("hd95_mm", first), "B": of_cases("hd95_mm", second)}
    for one, other in zip(
        compare_values(methods, ["s"]).differences,
        compare_values(dict(reversed(methods.items())), ["s"]).differences,
        strict=True,
    ):
        assert (one.first_wins, one.ties, one.second_wins) == (other.second_wins, other.ties, other.first_wins)
        assert (one.first_infinite, one.pairs) == (other.second_infinite, other.pairs)
        assert (one.mean, one.median) == pytest.approx((-other.mean, -other.median), nan_ok=True)
        assert one.p == pytest.approx(other.p, nan_ok=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([NAN, 0.0, 0.5, 2.0, INF, -INF]), st.integers(0, 3)), min_size=1, max_size=9))
def test_a_patient_s_value_is_that_of_its_cases_alone(cases):
    """Against the definition, patient by patient."""
    column = np.array([value for value, _ in cases])
    unit = patient_indices(
        [str(index) for index in range(len(cases))], {str(i): str(p) for i, (_, p) in enumerate(cases)}
    )
    found = patient_means(column, unit)
    for patient in range(unit.max() + 1):
        own = column[unit == patient]
        net = np.sum(own == INF) - np.sum(own == -INF)
        finite = own[np.isfinite(own)]
        wanted = net * INF if net else finite.mean() if finite.size else 0.0 if np.isinf(own).any() else NAN
        assert found[patient] == pytest.approx(wanted, nan_ok=True)
        assert mean_over(own) == pytest.approx(wanted, nan_ok=True)


def test_settled_by_hand():
    """Nobody has it; one invented it; one lacks the case."""
    values = np.array([[[NAN], [NAN], [NAN]], [[NAN], [0.0], [NAN]]])
    held = np.array([[True, True, True], [True, True, False]])
    assert settled(values, held, higher_is_better=True)[:, :, 0].tolist() == pytest.approx(
        [pytest.approx([NAN, 1, 1], nan_ok=True), pytest.approx([NAN, 0, NAN], nan_ok=True)]
    )
    assert settled(values, held, higher_is_better=False)[0, 1:, 0].tolist() == [0, 0]


def test_ranks_of_means_by_hand():
    means = np.array([[[3.0], [1.0], [NAN]]])
    infinite = np.array([[[0.0], [0.5], [1.0]]])
    assert rank_means(means, infinite, higher_is_better=False)[0, :, 0].tolist() == [1, 2, 3]
    assert np.isnan(rank_means(means, np.full((1, 3, 1), NAN), higher_is_better=False)).all()


def test_the_page_says_what_the_code_does():
    text = scoring_text()
    assert f"below {BOOTSTRAP_FROM} patients" in text
    assert "{:.4g} for four, {:.3g} for five, {:.2g} for six".format(*map(least_p, (4, 5, 6))) in text
    assert {metric.name for metric in METRICS if metric.highest == 1} >= {"dice", "nsd", "lesion_dice"}
