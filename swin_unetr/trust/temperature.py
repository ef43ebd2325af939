"""One temperature for a model's probabilities, and how far they are from the truth.

Guo et al., "On Calibration of Modern Neural Networks" (1706.04599), section 4.2. The temperature divides logarithms of
probabilities (for regions, their log-odds), so that the highest class stays the highest, also for the mean of several
models.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from swin_unetr.tasks import Activation

Array = NDArray[np.float64]

#: The range in which a temperature is sought.
_LOWEST, _HIGHEST = 0.1, 10.0
#: Probabilities below this are taken for this one, as their logarithm.
_TINY = 1e-7
#: Bins of equal width for the expected calibration error.
BINS = 15


def tempered(probabilities: Tensor, temperature: float, activation: Activation) -> Tensor:
    """Probabilities at a temperature; the order of a voxel's classes, and the side of 1/2 of a region, stay.

    Args:
        probabilities: classes x ..., after the activation.
        temperature: above 1 makes them less sure.
        activation: "softmax" or "sigmoid".
    """
    if temperature == 1:
        return probabilities
    safe = probabilities.clamp(_TINY, 1 - _TINY)
    if activation == "softmax":
        return (safe.log() / temperature).softmax(dim=0)
    return (safe.logit() / temperature).sigmoid()


def tempered_rows(probabilities: Array, temperature: float, activation: Activation) -> Array:
    """The same of voxels x classes."""
    rows: Array = tempered(torch.from_numpy(probabilities).T, temperature, activation).T.numpy()
    return rows


def fit_temperature(probabilities: Array, truth: NDArray[np.int64], activation: Activation) -> float:
    """The temperature with the highest likelihood.

    Args:
        probabilities: voxels x classes.
        truth: for "softmax" the class of each voxel, (voxels,); for "sigmoid" 0 or 1, voxels x regions.
        activation: of the classes.
    """
    if not len(probabilities):
        return 1.0
    safe = np.clip(np.asarray(probabilities, np.float64), _TINY, 1 - _TINY)

    def loss(logarithm: float) -> float:
        scale = math.exp(-logarithm)
        if activation == "softmax":
            scores = np.log(safe) * scale
            normal = np.logaddexp.reduce(scores, axis=1)
            return float((normal - scores[np.arange(len(scores)), truth]).mean())
        odds = (np.log(safe) - np.log1p(-safe)) * scale
        return float(np.logaddexp(0, np.where(truth == 1, -odds, odds)).mean())

    found = minimize_scalar(loss, bounds=(math.log(_LOWEST), math.log(_HIGHEST)), method="bounded")
    return float(math.exp(found.x)) if loss(found.x) < loss(0.0) else 1.0


def expected_calibration_error(confidence: Array, correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Mean over bins of equal width, by their cases, of |share that is correct - mean confidence|; NaN of nothing.

    Args:
        confidence: 0 to 1.
        correct: whether each was right.
        bins: how many; their upper ends belong to them (Guo et al., equation 3).
    """
    if not len(confidence):
        return math.nan
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    sums = np.bincount(places, weights=correct.astype(float) - confidence, minlength=bins)
    return float(np.abs(sums).sum() / len(confidence))
