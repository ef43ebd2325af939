"""How far the features of a scan lie from those of the training scans.

Woodland et al. (2308.03723, 2408.02761): the Mahalanobis distance after PCA, and the distance to the nearest training
scans, of the bottleneck features of a Swin UNETR. Here features are pooled over a scan's windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: PCA keeps fewer dimensions than this share of the scans, so that their covariance is never singular.
_DIMENSIONS_PER_SCAN = 1 / 3
#: Most dimensions: the covariance of more is not known from a few hundred scans.
_MOST_DIMENSIONS = 64
#: Neighbours whose mean distance counts.
NEIGHBOURS = 5
#: Fewest training scans whose distances say something.
LEAST_SCANS = 7


@dataclass(frozen=True, eq=False)
class FeatureBank:
    """The training scans of a model in feature space.

    Attributes:
        mean: features, of the training scans.
        scale: features, their standard deviation, 1 where it is 0.
        axes: dimensions x features, the principal axes of the standardised features.
        points: scans x dimensions.
        precision: dimensions x dimensions, the inverse of the shrunk covariance.
    """

    mean: Array
    scale: Array
    axes: Array
    points: Array
    precision: Array

    @classmethod
    def of(cls, features: Array) -> FeatureBank:
        """The bank of scans x features; at least `LEAST_SCANS` scans.

        Raises:
            ValueError: fewer scans.
        """
        if len(features) < LEAST_SCANS:
            raise ValueError(f"features: {len(features)} scans, at least {LEAST_SCANS} are needed")
        values = np.asarray(features, np.float64)
        mean, spread = values.mean(axis=0), values.std(axis=0)
        scale = np.where(spread > 1e-6 * (1 + np.abs(mean)), spread, 1.0)
        standard = (values - mean) / scale
        dimensions = max(1, min(_MOST_DIMENSIONS, int(np.ceil(len(values) * _DIMENSIONS_PER_SCAN)) - 1))
        axes = np.linalg.svd(standard, full_matrices=False)[2][:dimensions]
        points = standard @ axes.T
        precision = np.linalg.inv(shrunk_covariance(points))
        return cls(mean, scale, axes, points, np.asarray(precision, np.float64))

    def project(self, features: Array) -> Array:
        """Scans x features to scans x dimensions."""
        projected: Array = (np.asarray(features, np.float64) - self.mean) / self.scale @ self.axes.T
        return projected

    def mahalanobis(self, features: Array) -> Array:
        """Distances of scans x features to the mean of the training scans, (scans,)."""
        points = self.project(features)
        distances: Array = np.sqrt(np.einsum("nd,de,ne->n", points, self.precision, points))
        return distances

    def nearest(self, features: Array) -> Array:
        """Mean distances of scans x features to their `NEIGHBOURS` nearest training scans, (scans,)."""
        points = self.project(features)
        all_distances = np.linalg.norm(points[:, None] - self.points[None], axis=2)
        means: Array = np.sort(all_distances, axis=1)[:, :NEIGHBOURS].mean(axis=1)
        return means


def shrunk_covariance(points: Array) -> Array:
    """Covariance of scans x dimensions, shrunk towards a multiple of the identity.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004, section 3.
    """
    number, dimensions = points.shape
    centred = points - points.mean(axis=0)
    sample = centred.T @ centred / number
    level = float(np.trace(sample)) / dimensions
    spread = float(((sample - level * np.eye(dimensions)) ** 2).sum())
    noise = float(((centred**2).T @ centred**2).sum() / number - (sample**2).sum()) / number
    share = 0.0 if spread == 0 else min(noise, spread) / spread
    never_singular = 1e-9 * max(level, 1e-9)
    return np.asarray((1 - share) * sample + (share * level + never_singular) * np.eye(dimensions), np.float64)
