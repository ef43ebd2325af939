"""How spread out the features of different views are. The spread shrinks when an encoder collapses."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pretrain.health.config import HealthConfig

#: With fewer views nothing is said: a few are always close to a plane.
LEAST_VIEWS = 8


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Two measures of the same features."""

    #: Standard deviation of the L2-normalised features, mean over channels, times the root of their number: 0 if all
    #: views have the same direction, 1 if they have no common one (Chen & He, 2011.10566, section 4.1).
    std: float
    #: Directions that the centred, L2-normalised features fill (Roy & Vetterli, EUSIPCO 2007).
    rank: float


def spread(features: Tensor) -> Spread:
    """Measure the spread of features.

    Args:
        features: N x C, one row a view; N of at least 2.

    Returns:
        The measures; NaN if a feature is NaN.
    """
    rows = F.normalize(features.float(), dim=1)
    if not rows.isfinite().all():
        return Spread(std=math.nan, rank=math.nan)
    std = rows.std(dim=0, correction=0).mean() * rows.shape[1] ** 0.5
    return Spread(std=float(std), rank=effective_rank(rows))


def effective_rank(rows: Tensor) -> float:
    """Exponential of the entropy of the singular values, as shares of their sum, of the centred rows.

    Args:
        rows: N x C.

    Returns:
        1 for rows on a line, up to min(N - 1, C) for rows that fill all directions alike; 0 for equal rows.
    """
    centred = rows.double() - rows.double().mean(dim=0)
    values = torch.linalg.svdvals(centred.cpu())
    # Rounding leaves equal rows a little apart; their directions would be random and so look like many.
    if not values[0] > 1e-6 * torch.linalg.norm(rows.double()):
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def collapse(found: Spread, config: HealthConfig) -> str | None:
    """A sentence for the user if the features have collapsed, else None."""
    if not found.std >= config.least_std:  # true for NaN too
        return (
            f"the features of all views are nearly the same (spread {found.std:.3g} of 1, least {config.least_std:g}): "
            "the encoder has collapsed, or does not distinguish scans yet; if this stays, lower the learning rate, or "
            "give another task weight"
        )
    if not found.rank >= config.least_rank:
        return (
            f"the features fill {found.rank:.1f} directions (least {config.least_rank:g}): the encoder has collapsed "
            "onto few; if this stays, lower the learning rate, or give another task weight"
        )
    return None


class LatestFeatures:
    """The features of the latest views.

    Args:
        views: how many are kept.
    """

    def __init__(self, views: int) -> None:
        self._views = views
        self._kept: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        """Keep the features of a step, N x C, on their device; the oldest are removed."""
        self._kept.append(features.detach()[-self._views :].float())
        while sum(map(len, self._kept[1:])) >= self._views:
            self._kept.pop(0)

    def rows(self) -> Tensor | None:
        """The latest features, N x C. None if there are fewer than `LEAST_VIEWS`."""
        kept = self.kept()
        return None if kept is None or len(kept) < min(LEAST_VIEWS, self._views) else kept

    def kept(self) -> Tensor | None:
        """The latest features, N x C, even if they are few. None before the first step."""
        return torch.cat(self._kept)[-self._views :] if self._kept else None
