"""Levels and differences of a study on made-up scores, whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from swin_unetr.evaluation.metrics import METRICS
from swin_unetr.study.statistics import gains, interval_over_both, levels

DICE = next(of for of in METRICS if of.name == "dice")
HD95 = next(of for of in METRICS if of.name == "hd95_mm")
STRUCTURES = ("a", "b")
ALL = "mean of structures"


def made_up(gain: float, seeds: int = 3, cases: int = 40) -> dict:
    """Scores of two arms; cases differ far more than arms, as they do."""
    generator = np.random.default_rng(0)
    hard = generator.uniform(0.5, 0.9, cases)
    scores = {}
    for arm, shift in (("scratch", 0.0), ("ours", gain)):
        for seed in range(seeds):
            values = hard + shift + generator.normal(0, 0.005, cases)
            scores[arm, 0.1, seed] = {
                f"case{index:03d}": {"a": float(value), "b": float(value) - 0.1} for index, value in enumerate(values)
            }
    return scores


def gains_of(scores, metric=DICE, patients=None, arms=("ours",)):
    return gains("data", scores, STRUCTURES, metric, patients or {}, baseline="scratch", arms=arms)


def levels_of(scores, metric=DICE, patients=None):
    found = levels("data", scores, STRUCTURES, metric, patients or {})
    return {(of.arm, of.labels, of.structure): of for of in found}


def test_a_gain_far_smaller_than_the_cases_differ_is_found() -> None:
    scores = made_up(0.02)
    gain, of_a, of_b = gains_of(scores)
    of = gain.difference
    assert [each.difference.structure for each in (gain, of_a, of_b)] == [ALL, "a", "b"]
    assert of.mean == pytest.approx(0.02, abs=0.003)
    assert 0.015 < of.ci_low < of.mean < of.ci_high < 0.025
    assert of.p < 1e-6
    assert gain.both_low > 0.015
    assert gain.both_low < of.mean < gain.both_high
    assert of_a.difference.mean == pytest.approx(of.mean)
    found = levels_of(scores)
    level = found["ours", 0.1, ALL]
    assert level.ci_high - level.ci_low > 0.05
    ours = [list(of.values()) for (arm, _, _), cases in scores.items() if arm == "ours" for of in cases.values()]
    assert level.mean == pytest.approx(np.mean(ours))
    assert found["ours", 0.1, "a"].mean - found["ours", 0.1, "b"].mean == pytest.approx(0.1)
    nothing = gains_of(made_up(0.0))[0].difference
    assert nothing.ci_low < 0 < nothing.ci_high


def test_differences_are_those_of_compare_on_means_over_seeds() -> None:
    from swin_unetr.evaluation.comparison.values import compare_values

    scores = made_up(0.01)
    means = {
        arm: {
            (case, name, "dice"): float(np.mean([scores[arm, 0.1, seed][case][name] for seed in range(3)]))
            for case in scores[arm, 0.1, 0]
            for name in STRUCTURES
        }
        for arm in ("ours", "scratch")
    }
    patients = {f"case{index:03d}": f"p{index // 2}" for index in range(40)}
    compared = compare_values(means, STRUCTURES, metrics=(DICE,), patients=patients)
    for gain, expected in zip(gains_of(scores, patients=patients), compared.differences, strict=True):
        got = gain.difference
        assert (got.structure, got.patients, got.first_wins) == (
            expected.structure, expected.patients, expected.first_wins,
        )  # fmt: skip
        for key in ("mean", "ci_low", "ci_high", "median", "p", "p_holm"):
            assert getattr(got, key) == pytest.approx(getattr(expected, key), abs=1e-12), key


def test_holm_counts_the_arms() -> None:
    scores = made_up(0.002, cases=8)
    scores |= {
        ("third", labels, seed): of for (arm, labels, seed), of in made_up(0.004, cases=8).items() if arm == "ours"
    }
    alone = gains_of(scores)[0].difference
    both = gains_of(scores, arms=("ours", "third"))
    assert [gain.arm for gain in both[:2]] == ["ours", "third"]
    assert both[0].difference.p == alone.p
    assert alone.p < both[0].difference.p_holm <= min(1.0, 2 * alone.p) or alone.p == 1


def test_only_seeds_and_cases_that_both_have_count() -> None:
    scores = made_up(0.02)
    del scores["ours", 0.1, 2]
    for name in list(scores["scratch", 0.1, 0])[:10]:
        del scores["scratch", 0.1, 0][name]  # another fold is not done yet
    gain = gains_of(scores)[0]
    assert gain.seeds == (0, 1)
    assert gain.difference.patients == 30
    assert len(gain.by_seed) == 2
    found = levels_of(scores)
    assert (found["ours", 0.1, ALL].cases, found["scratch", 0.1, ALL].cases) == (40, 30)


def test_the_interval_over_both_covers_the_truth_although_every_case_moves_with_the_seed() -> None:
    """Drawn 1000 times: 3 seeds with an effect each, 42 cases with an effect each, and noise."""
    generator = np.random.default_rng(0)
    covered, by_cases = 0, 0
    for _ in range(1000):
        table = 0.01 + generator.normal(0, 0.01, (3, 1)) + generator.normal(0, 0.02, 42)
        table = table + generator.normal(0, 0.01, (3, 42))
        low, high = interval_over_both(table)
        covered += low < 0.01 < high
        means = table.mean(0)
        half = 2 * means.std(ddof=1) / 42**0.5
        by_cases += abs(means.mean() - 0.01) < half
    assert covered > 920
    assert by_cases < 750  # what an interval over cases alone would promise


def test_the_interval_over_both_is_student_s_where_one_effect_is_all() -> None:
    by_seed = np.array([0.01, 0.02, 0.06])
    wanted = stats.t.interval(0.95, 2, loc=by_seed.mean(), scale=stats.sem(by_seed))
    assert interval_over_both(np.tile(by_seed[:, None], 50)) == pytest.approx(wanted)
    by_case = np.random.default_rng(0).normal(0, 1, 30)
    wanted = stats.t.interval(0.95, 29, loc=by_case.mean(), scale=stats.sem(by_case))
    assert interval_over_both(np.tile(by_case, (3, 1))) == pytest.approx(wanted)
    assert interval_over_both(np.full((3, 4), 0.5)) == (0.5, 0.5)


def test_nothing_is_known_of_other_seeds_from_one() -> None:
    table = np.random.default_rng(0).normal(0, 1, (3, 20))
    assert all(math.isnan(end) for end in interval_over_both(table[:1]))
    complete = interval_over_both(table[:, 1:])
    for odd in (math.nan, math.inf):
        table[0, 0] = odd
        assert interval_over_both(table) == pytest.approx(complete)


def test_a_structure_in_neither_mask_is_left_out() -> None:
    scores = made_up(0.02, cases=5)
    for run in scores.values():
        run["case000"] = {"a": math.nan, "b": math.nan}
    gain = gains_of(scores)[0]
    assert (gain.difference.pairs, gain.difference.undefined) == (4, 1)
    assert not math.isnan(levels_of(scores)["ours", 0.1, ALL].mean)


def test_infinite_distances_are_counted_and_in_no_mean() -> None:
    scores = made_up(0.0, cases=6)
    for seed in range(3):
        scores["ours", 0.1, seed]["case000"]["a"] = math.inf
    level = levels_of(scores, HD95)["ours", 0.1, ALL]
    assert (level.infinite, level.patients) == (1, 6)
    assert math.isfinite(level.mean)
    gain = gains_of(scores, HD95)[0]
    assert (gain.difference.infinite, gain.difference.first_infinite) == (1, 1)
    assert math.isfinite(gain.difference.mean)
