"""Distances, regression, bounds and calibration against scikit-learn, MONAI's definition, and simulation."""

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from swin_unetr.trust.conformal import high_quantile, joint_tail_share, low_quantile, tail_share
from swin_unetr.trust.distances import NEIGHBOURS, FeatureBank, shrunk_covariance
from swin_unetr.trust.regression import PENALTIES, Regression, fit_ridge
from swin_unetr.trust.temperature import expected_calibration_error, fit_temperature, tempered


def features(number: int, seed: int = 0, size: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(number, 8)) @ rng.normal(size=(8, size)) + 0.1 * rng.normal(size=(number, size)) + 5


def test_distances_are_those_of_scikit_learn() -> None:
    known, new = features(30), features(50)[30:]
    bank = FeatureBank.of(known)
    scaler = StandardScaler().fit(known)
    pca = PCA(n_components=9).fit(scaler.transform(known))
    assert len(bank.axes) == 9  # fewer than a third of 30
    points, placed = pca.transform(scaler.transform(known)), pca.transform(scaler.transform(new))
    covariance = LedoitWolf().fit(points)
    np.testing.assert_allclose(bank.mahalanobis(new) ** 2, covariance.mahalanobis(placed), rtol=1e-6)
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(placed)[0].mean(axis=1)
    np.testing.assert_allclose(bank.nearest(new), nearest, rtol=1e-6)


@pytest.mark.parametrize("shape", [(7, 2), (40, 13), (12, 30)])
def test_shrunk_covariance_is_that_of_scikit_learn(shape) -> None:
    points = np.random.default_rng(3).normal(size=shape) * np.arange(1, shape[1] + 1)
    np.testing.assert_allclose(shrunk_covariance(points), LedoitWolf().fit(points).covariance_, rtol=1e-6, atol=1e-7)


def test_scans_without_any_spread_are_no_error() -> None:
    bank = FeatureBank.of(np.ones((9, 4)))
    assert np.isfinite(bank.mahalanobis(np.ones((1, 4)))).all()
    assert bank.mahalanobis(np.full((1, 4), 2.0)) > 1
    with pytest.raises(ValueError, match="6 scans, at least 7"):
        FeatureBank.of(np.ones((6, 4)))


def test_ridge_is_that_of_scikit_learn_with_the_penalty_of_the_least_left_out_error() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(25, 6)) * [1, 10, 0.1, 5, 1, 1] + 3
    y = x[:, 0] - 0.05 * x[:, 1] + rng.normal(size=25)
    scaler = StandardScaler().fit(x)
    alphas = [25 * penalty for penalty in PENALTIES]
    chosen = RidgeCV(alphas=alphas).fit(scaler.transform(x), y)
    ridge = Ridge(alpha=chosen.alpha_).fit(scaler.transform(x), y)
    coefficients = fit_ridge(x, y)
    np.testing.assert_allclose(coefficients[0] + x @ coefficients[1:], ridge.predict(scaler.transform(x)), rtol=1e-8)


def test_each_residual_is_without_the_patient() -> None:
    rng = np.random.default_rng(1)
    x, patients = rng.normal(size=(20, 3)), [index // 2 for index in range(20)]
    y = x @ [0.1, 0, 0.05] + 0.5 + 0.05 * rng.normal(size=20)
    fitted = Regression.fit(x, y, patients)
    for index, patient in enumerate(patients):
        others = [other != patient for other in patients]
        without = fit_ridge(x[others], y[others])
        assert fitted.residuals[index] == pytest.approx(y[index] - without[0] - x[index] @ without[1:])


def test_a_lower_bound_holds_as_often_as_it_says() -> None:
    """Jackknife+ guarantees 1 - 2 miss and usually reaches 1 - miss, also where the regression is wrong."""
    rng = np.random.default_rng(7)
    held = []
    for _ in range(60):
        x = rng.normal(size=(60, 3))
        y = 0.6 + 0.1 * np.tanh(x[:, 0]) + 0.05 * x[:, 1] ** 2 * rng.exponential(size=60) - 0.05
        fitted = Regression.fit(x[:30], y[:30], range(30))
        held += [value >= fitted.lower_bound(row, 0.1) for row, value in zip(x[30:], y[30:], strict=True)]
    assert 0.88 <= np.mean(held) <= 0.95  # 1800 draws: a standard error of 0.7 %, and the spread of 60 fits


def test_quantiles_miss_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    values = rng.exponential(size=(4000, 20))
    below = np.mean([row[-1] < low_quantile(row[:-1], 0.1) for row in values])
    above = np.mean([row[-1] > high_quantile(row[:-1], 0.1) for row in values])
    assert below == pytest.approx(0.1, abs=0.02)
    assert above == pytest.approx(0.1, abs=0.02)
    assert low_quantile(np.arange(8.0), 0.1) == -math.inf  # 9 values are needed for one in ten
    assert low_quantile(np.arange(9.0), 0.1) == 0
    assert high_quantile(np.arange(9.0), 0.1) == 8


def test_false_alarms_are_as_rare_as_stated_whatever_the_number_of_risks() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(1500):
        risks = rng.normal(size=(30, 4)) + rng.normal(size=(30, 1))
        shares.append(joint_tail_share(risks[:-1], risks[-1]))
    assert np.mean(np.array(shares) <= 0.1) == pytest.approx(0.1, abs=0.025)
    assert joint_tail_share(risks[:-1], np.full(4, 99.0)) == pytest.approx(1 / 30)
    assert tail_share(np.array([1.0, 2.0, 3.0]), 2.5) == 0.5


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_known_temperature_is_found_and_no_decision_changes(activation) -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(3 * rng.normal(size=(4, 20000)))
    if activation == "softmax":
        right, sure = scores.softmax(dim=0), (2.5 * scores).softmax(dim=0)
        truth = np.array([rng.choice(4, p=p) for p in right.T.numpy()])
        chosen = [each.argmax(dim=0) for each in (sure, tempered(sure, 2.5, "softmax"))]
    else:
        right, sure = scores.sigmoid(), (2.5 * scores).sigmoid()
        truth = (rng.random(right.T.shape) < right.T.numpy()).astype(int)
        chosen = [each > 0.5 for each in (sure, tempered(sure, 2.5, "sigmoid"))]
    found = fit_temperature(sure.T.numpy(), truth, activation)
    assert found == pytest.approx(2.5, rel=0.05)
    assert torch.equal(*chosen)
    if activation == "softmax":
        better = tempered(sure, found, "softmax").T.numpy()
        assert log_loss(truth, better) < log_loss(truth, sure.T.numpy())
        before, after = (
            expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == truth) for p in (sure.T.numpy(), better)
        )
        assert after < 0.02 < 0.1 < before


def test_calibration_error_written_out() -> None:
    confidence = np.array([0.95, 0.85, 0.81, 0.35])
    correct = np.array([True, False, True, False])
    # With ten bins: 0.9-1 holds one case, 0.8-0.9 two, 0.3-0.4 one.
    expected = (abs(1 - 0.95) + 2 * abs(0.5 - 0.83) + abs(0 - 0.35)) / 4
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx(expected)
