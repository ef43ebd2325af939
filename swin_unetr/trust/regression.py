"""Predicts the Dice of a structure from the signals of a case, with a lower bound.

Ridge regression, its penalty chosen by leave-one-out errors in closed form. The bound is jackknife+ (Barber et al.,
1905.02928, theorem 1), with the patients in turn left out: for new cases like those of the calibration it holds with a
probability of at least 1 - 2 miss, whatever the regression is worth, and usually of about 1 - miss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.trust.conformal import low_quantile

Array = NDArray[np.float64]

#: Penalties that are tried, for standardised signals, per case.
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True, eq=False)
class Regression:
    """A fitted regression and those without each case's patient.

    Attributes:
        coefficients: 1 + signals: constant, then one for each signal as it is.
        left_out: cases x (1 + signals), fitted without the patient of the case.
        residuals: cases: the true value minus that predicted without the patient.
        means: signals, over the cases; they take the place of signals that a new case lacks.
    """

    coefficients: Array
    left_out: Array
    residuals: Array
    means: Array

    @classmethod
    def fit(cls, signals: Array, values: Array, patients: Sequence[object]) -> Regression:
        """Fit to cases x signals, the true values, and the patient of each case."""
        keys = list(patients)
        without = {
            key: fit_ridge(*(of[[other != key for other in keys]] for of in (signals, values)))
            for key in dict.fromkeys(keys)
        }
        left_out = np.stack([without[key] for key in keys])
        predicted = left_out[:, 0] + (left_out[:, 1:] * signals).sum(axis=1)
        return cls(fit_ridge(signals, values), left_out, values - predicted, signals.mean(axis=0))

    def predict(self, signals: Array) -> float:
        """The predicted Dice of a case, 0 to 1."""
        return float(np.clip(self.coefficients @ self._complete(signals), 0, 1))

    def lower_bound(self, signals: Array, miss: float) -> float:
        """A bound that the Dice of a case is below with a probability of about `miss`; 0 if too few cases say more."""
        candidates = self.left_out @ self._complete(signals) + self.residuals
        return float(np.clip(low_quantile(candidates, miss), 0, 1))

    def _complete(self, signals: Array) -> Array:
        return np.concatenate([[1.0], np.where(np.isnan(signals), self.means, signals)])


def fit_ridge(signals: Array, values: Array) -> Array:
    """Coefficients of a ridge regression, the constant first; of `PENALTIES` that with the least leave-one-out error.

    Signals are standardised inside. Errors without each case follow from the hat matrix (Allen's PRESS).
    """
    number = len(values)
    mean, spread = signals.mean(axis=0), signals.std(axis=0)
    scale = np.where(spread > 1e-12, spread, 1.0)
    left, singular, right = np.linalg.svd((signals - mean) / scale, full_matrices=False)
    centre = float(values.mean())
    turned = left.T @ (values - centre)
    best: tuple[float, Array] | None = None
    for penalty in PENALTIES:
        shrink = singular**2 / (singular**2 + penalty * number)
        leverage = (left**2) @ shrink + 1 / number
        errors = (values - centre - left @ (shrink * turned)) / np.maximum(1 - leverage, 1e-9)
        error = float((errors**2).mean())
        if best is None or error < best[0]:
            inverse = singular / (singular**2 + penalty * number)
            best = (error, right.T @ (inverse * turned))
    assert best is not None  # there are penalties
    slopes = best[1] / scale
    return np.concatenate([[centre - slopes @ mean], slopes])
