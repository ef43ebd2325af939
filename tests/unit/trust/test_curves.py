"""Curves against values that were derived by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from swin_unetr.trust.curves import aurc, auroc, poor_cases, poor_left, reliability, risk_coverage


def test_risk_coverage_by_hand() -> None:
    confidence, risk = np.array([0.9, 0.5, 0.7]), np.array([0.1, 0.6, 0.2])
    np.testing.assert_allclose(risk_coverage(confidence, risk), [0.1, 0.15, 0.3])
    assert aurc(confidence, risk) == pytest.approx((0.1 + 0.15 + 0.3) / 3)
    assert aurc(-risk, risk) <= aurc(confidence, risk)  # no order is better than that of the truth
    assert math.isnan(aurc(np.array([]), np.array([])))


def test_of_equally_confident_cases_the_mean_counts() -> None:
    risk = np.array([0.0, 1.0, 0.5, 0.1])
    np.testing.assert_allclose(risk_coverage(np.zeros(4), risk), 0.4)
    np.testing.assert_allclose(risk_coverage(np.array([1.0, 1, 0, 0]), risk), [0.5, 0.5, 1.3 / 3, 0.4])


def test_a_random_order_has_the_mean_risk_on_average() -> None:
    rng = np.random.default_rng(0)
    risk = rng.random(20)
    areas = [aurc(rng.random(20), risk) for _ in range(3000)]
    assert np.mean(areas) == pytest.approx(risk.mean(), abs=0.005)


def test_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    suspicion, poor = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.3
    assert auroc(suspicion, poor) == pytest.approx(roc_auc_score(poor, suspicion))
    assert math.isnan(auroc(suspicion, np.zeros(40, bool)))


def test_poor_cases_and_how_many_are_left() -> None:
    dice = np.array([0.9, 0.2, 0.8, 0.95, 0.5, 0.85, 0.9, 0.92, 0.7, 0.88])
    poor = poor_cases(dice)
    assert np.flatnonzero(poor).tolist() == [1, 4]
    assert poor_left(np.array([4, 0, 1, 2, 3, 5, 6, 7, 8, 9]), poor).tolist() == [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert poor_cases(np.array([0.5])).tolist() == [True]


def test_reliability_by_hand() -> None:
    rows, error = reliability(np.array([0.9, 0.5, 0.7, 0.6]), np.array([0.8, 0.6, 0.7, 0.6]), 2)
    assert [row[2] for row in rows] == [2, 2]
    np.testing.assert_allclose([row[:2] for row in rows], [(0.55, 0.6), (0.8, 0.75)])
    assert error == pytest.approx(0.05)
