"""Rankings by hand, and their stability."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from swin_unetr.evaluation.bootstrap import RESAMPLES, resamples
from swin_unetr.evaluation.comparison.ranking import Table, case_ranks, rankings
from swin_unetr.evaluation.metrics import DICE

HD = replace(DICE, name="d_mm", higher_is_better=False, value_of_failure=math.inf)


def table(rows, metric=DICE, held=None):
    """Methods x cases of one structure."""
    values = np.array(rows, dtype=float)[:, :, None]
    return Table(metric, values, np.ones(values.shape[:2], bool) if held is None else np.array(held))


def by_method(ranking):
    return {place.method: (place.place, place.mean_rank) for place in ranking.places}


def test_case_ranks_by_hand():
    """Lacking is worse than infinite, infinite worse than any, in neither mask as good as the best; ties share."""
    ranks = case_ranks(table([[1, math.inf, math.nan], [1 + 1e-12, 5, math.nan], [2, 7, 3]], HD,
                             [[True, True, True], [True, True, True], [True, False, True]]))  # fmt: skip
    assert ranks[:, :, 0].tolist() == [[1.5, 2, 1.5], [1.5, 1, 1.5], [3, 3, 3]]


def test_ranking_cases_and_ranking_means_may_disagree():
    """A wins two cases of three by little, and loses the third by much."""
    ranked = rankings("AB", [table([[0.91, 0.91, 0.1], [0.9, 0.9, 0.9]])], 0)
    assert [ranking.scheme for ranking in ranked] == ["rank_then_mean", "mean_then_rank", "test_then_rank"]
    assert by_method(ranked[0]) == {"A": (1, pytest.approx(4 / 3)), "B": (2, pytest.approx(5 / 3))}
    assert by_method(ranked[1]) == {"A": (2, 2), "B": (1, 1)}
    # Three cases can prove nothing.
    assert by_method(ranked[2]) == {"A": (1, 1.5), "B": (1, 1.5)}


def test_metrics_count_alike_and_by_their_direction():
    ranked = rankings("AB", [table([[0.9], [0.8]]), table([[4], [3]], HD)], 0)
    assert by_method(ranked[0]) == by_method(ranked[1]) == {"A": (1, 1.5), "B": (1, 1.5)}


def test_a_case_that_is_lacking():
    """The better method of two lacks one case of twelve: worst there, and 0 in the mean."""
    held = [[True] * 11 + [False], [True] * 12]
    ranked = rankings("AB", [table([[0.91] * 11 + [math.nan], [0.9] * 12], held=held)], 0)
    assert by_method(ranked[0]) == {"A": (1, pytest.approx(13 / 12)), "B": (2, pytest.approx(23 / 12))}
    assert by_method(ranked[1]) == {"A": (2, 2), "B": (1, 1)}
    assert by_method(ranked[2]) == {"A": (1, 1), "B": (2, 2)}  # eleven small wins against one loss: p = 68/4096, twice


def test_significance_by_hand():
    """B and C are worse than A in all of eight cases: p = 1/256, times 6 ordered pairs 0.023; B and C alternate."""
    alternating = [0.5, 0.6] * 4
    rows = [[0.9 + 0.001 * case for case in range(8)], alternating, alternating[::-1]]
    assert by_method(rankings("ABC", [table(rows)], 0)[2]) == {"A": (1, 1), "B": (2, 2.5), "C": (2, 2.5)}


@pytest.mark.slow
def test_stability_is_that_of_the_resamples_one_by_one():
    generator = np.random.default_rng(4)
    rows, seed = generator.beta(8, 2, (4, 15)), 11
    ranked = rankings("ABCD", [table(rows)], seed)
    draws = np.concatenate(list(resamples(15, np.random.default_rng(seed))))
    assert len(draws) == RESAMPLES
    means = np.stack([rows[:, draw].mean(axis=1) for draw in draws])
    places = (means[:, None, :] > means[:, :, None]).sum(axis=2) + 1  # no ties in these
    found = {place.method: place for place in ranked[1].places}
    for index, name in enumerate("ABCD"):
        shares = [(places[:, index] == place).mean() for place in (1, 2, 3, 4)]
        assert found[name].stability == pytest.approx(shares)
        low, high = np.quantile(places[:, index], [0.025, 0.975])
        assert (found[name].place_low, found[name].place_high) == (low, high)
    observed = [found[name].place for name in "ABCD"]
    tau = [kendalltau(observed, row).statistic for row in places]
    agreement = ranked[1].kendall_tau
    assert agreement.mean == pytest.approx(np.mean(tau))
    assert (agreement.quartile1, agreement.median, agreement.quartile3) == pytest.approx(
        np.quantile(tau, [0.25, 0.5, 0.75])
    )
    assert agreement.undefined == 0
    assert ranked[2].kendall_tau is None


@pytest.mark.slow
def test_tau_with_ties_is_scipys():
    """Few cases with many ties: resamples tie too, and tau-b corrects for it."""
    rows = np.round(np.random.default_rng(2).random((3, 6)) * 2)
    seed = 5
    first = rankings("ABC", [table(rows)], seed)[1]
    observed = [next(place.place for place in first.places if place.method == name) for name in "ABC"]
    taus = []
    for draw in np.concatenate(list(resamples(6, np.random.default_rng(seed)))):
        means = np.round(rows[:, draw].mean(axis=1), 9)
        taus.append(kendalltau(observed, [(means > mean).sum() for mean in means]).statistic)
    undefined = np.isnan(taus)
    assert 0 < undefined.sum() == first.kendall_tau.undefined
    assert first.kendall_tau.mean == pytest.approx(np.nanmean(taus))


def test_methods_that_are_the_same_tie_everywhere():
    first, second, third = rankings("AB", [table([[0.5, 0.7]] * 2)], 0)
    for ranking in (first, second, third):
        assert {place.place for place in ranking.places} == {1}
    assert first.places[0].stability == (1.0, 0.0)
    assert math.isnan(first.kendall_tau.mean)
    assert first.kendall_tau.undefined == RESAMPLES


def test_a_single_patient_is_not_resampled():
    """Every resample would be that patient, and any order look certain."""
    for values, patients in ([[0.5], [0.7]], None), ([[0.5, 0.6], [0.7, 0.9]], np.zeros(2, dtype=np.int64)):
        for ranking in rankings("AB", [table(values)], 0, patients):
            assert ranking.kendall_tau is None
            assert [place.stability for place in ranking.places] == [(), ()]
