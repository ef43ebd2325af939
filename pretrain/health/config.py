"""What is watched while a pre-training runs. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """Pictures, warnings on collapse, and a probe on labelled scans. Nothing here changes what is learnt."""

    #: Draw reconstructions and curves every so many epochs, and after the last; 0 draws none.
    picture_every: int = 10
    #: Probe the encoder on the labelled folder (if one is given) every so many epochs, and after the last.
    probe_every: int = 10
    #: "linear": ridge regression onto the classes, in closed form. "knn": votes of the nearest neighbours.
    probe_method: Literal["linear", "knn"] = "linear"
    #: How many labelled scans the probe uses at most: it learns from half of them and is scored on the other half.
    probe_scans: int = 20
    #: How many voxels of each class it takes from each scan.
    probe_voxels: int = 200
    #: Spread is measured over the features of this many views, the latest ones.
    feature_views: int = 512
    #: Warn of collapse if the spread of the features is below this; 1 is the spread of features in all directions.
    least_std: float = 0.02
    #: Warn of collapse if the features have fewer directions than this.
    least_rank: float = 2.0

    def __post_init__(self) -> None:
        if self.picture_every < 0:
            raise ValueError(f"picture_every: must not be negative, got {self.picture_every}")
        for name, least in (("probe_every", 1), ("probe_scans", 2), ("probe_voxels", 1), ("feature_views", 4)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: must be at least {least}, got {getattr(self, name)}")
