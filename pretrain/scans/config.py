"""Which sub-volumes a pre-training sees, and how they are read. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swin_unetr.config import Triple
from swin_unetr.datasets.readers import Layout


@dataclass(frozen=True, kw_only=True)
class ScansConfig:
    """Crops of the scans, and how they are read from disk."""

    #: Size of a crop in voxels, X, Y, Z; a scan that is smaller is padded with zeros.
    crop_size: Triple = (96, 96, 96)
    #: Where a scan that is shorter than a crop lies in it: always in the middle, or anywhere.
    short_scans: Literal["middle", "anywhere"] = "middle"
    #: Least share of a crop that must not be air; a crop with less is drawn again, up to 8 times, and the fullest is
    #: taken. Air is below -500 HU if intensities are in Hounsfield units, and else below the mean of the scan. 0 takes
    #: any crop that holds more than a single value.
    least_tissue: float = 0.0
    #: Scans of one batch on one process; the network sees scans times crops.
    scans_per_batch: int = 2
    #: Crops taken from a scan each time it is visited.
    crops_per_scan: int = 2
    #: How often an epoch visits each scan; with few scans, more visits make epochs longer.
    visits_per_epoch: int = 1
    #: Processes that read crops; 0 reads in the main process.
    num_workers: int = 4
    #: How many scans are preprocessed at a time for the cache; each takes several times its size in memory.
    cache_workers: int = 4
    #: Layout of the data folders; "auto" recognises it from their files.
    layout: Layout = "auto"
    #: Use the test cases of a labelled layout too. Otherwise they stay unseen for a later evaluation.
    with_test_cases: bool = False

    def __post_init__(self) -> None:
        if min(self.crop_size) < 1:
            raise ValueError(f"crop_size: must be positive, got {self.crop_size}")
        for name in ("scans_per_batch", "crops_per_scan", "visits_per_epoch", "cache_workers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}")
        if not 0 <= self.least_tissue < 1:
            raise ValueError(f"least_tissue: must be at least 0 and less than 1, got {self.least_tissue}")
        if self.num_workers < 0:
            raise ValueError(f"num_workers: must not be negative, got {self.num_workers}")
