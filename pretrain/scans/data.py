"""Random crops of cached scans, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.scans.air import tissue_share
from pretrain.scans.cached import CachedScans
from pretrain.scans.config import ScansConfig
from swin_unetr.machine import cores
from swin_unetr.store.scan_file import StoredScan
from swin_unetr.training.loaders import Loader
from swin_unetr.training.sampler import Visit, VisitSampler
from swin_unetr.training.step_hooks import derived_seed

#: "image": B x C x X x Y x Z, float32; "scan": B, int64, the index of the scan of each crop.
Batch = dict[str, Tensor]
#: A crop with a single value, or of too much air, teaches nothing; another is drawn instead, at most this often.
_DRAWS = 8


class RandomCrops(Dataset[Batch]):
    """Crops of scans, one visit after another. The same visit gives the same crops in any process, at any time.

    Args:
        scans: on disk; none is kept in memory.
        config: size and number of crops.
        seed: of the places.
        air: the values of the channels up to which a voxel is air; used if the configuration asks for tissue.
    """

    def __init__(self, scans: Sequence[StoredScan], config: ScansConfig, seed: int, air: Sequence[float] = ()) -> None:
        self._scans = tuple(scans)
        self._config, self._air = config, air
        self._size = config.crop_size
        self._crops = config.crops_per_scan
        self._seed = seed

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, visit: Visit) -> Batch:
        epoch, place, index = visit
        generator = np.random.default_rng(derived_seed(self._seed, epoch, place, index))
        crops = np.stack([self._draw(self._scans[index], generator) for _ in range(self._crops)])
        return {"image": torch.from_numpy(crops), "scan": torch.full((self._crops,), index)}

    def _draw(
        self, scan: StoredScan, generator: np.random.Generator
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        least, fullest, best = self._config.least_tissue, None, -1.0
        for _ in range(_DRAWS):
            crop = scan.read(
                [self._start(*lengths, generator) for lengths in zip(scan.shape, self._size, strict=True)], self._size
            )
            tissue = tissue_share(crop, self._air) if least else 0.0
            if crop.min() < crop.max() and tissue >= least:
                return crop
            if tissue >= best:
                fullest, best = crop, tissue
        assert fullest is not None
        return fullest

    def _start(self, length: int, size: int, generator: np.random.Generator) -> int:
        """Where a crop begins along an axis."""
        if length >= size:
            return int(generator.integers(length - size + 1))
        if self._config.short_scans == "middle":
            return -((size - length) // 2)
        return -int(generator.integers(size - length + 1))


class PretrainScans(LightningDataModule):  # type: ignore[misc]  # Lightning is untyped here
    """Batches of random crops, `scans_per_batch` x `crops_per_scan` of them on each process.

    Memory does not grow with the scans nor with the epochs: every crop is read from disk.

    Args:
        cached: the scans.
        config: crops and batches.
        seed: of the order of the scans and of the places of the crops.
        air: see `RandomCrops`.
    """

    def __init__(self, cached: CachedScans, config: ScansConfig, seed: int, air: Sequence[float] = ()) -> None:
        super().__init__()
        self._scans = cached.scans
        self._names = [str(case.images[0]) for case in cached.cases]
        self._config = config
        self._seed, self._air = seed, air

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch on one process."""
        return self._sampler().steps

    def case_names(self, epoch: int, batch_idx: int) -> list[str]:
        """The scans that a batch of this process is made of; epoch and batch from 0."""
        return [self._names[visit.scan] for visit in self._sampler().batch_at(epoch, batch_idx)]

    @property
    def padding_notice(self) -> str | None:
        """What to print once if scans are smaller than a crop."""
        size = self._config.crop_size
        small = [
            (f"{name}, {'x'.join(map(str, scan.shape))}")
            for name, scan in zip(self._names, self._scans, strict=True)
            if any(voxels < wanted for voxels, wanted in zip(scan.shape, size, strict=True))
        ]
        if not small:
            return None
        crop = "x".join(map(str, size))
        return (
            f"{len(small)} of {len(self._scans)} scans are smaller than the crop of {crop} voxels along an axis and "
            f"are padded with zeros (the first: {small[0]})"
        )

    def train_dataloader(self) -> Loader[Batch]:
        """The batches of an epoch; after a resume, those that are still to come."""
        sampler = self._sampler().in_training(self.trainer)
        workers = min(self._config.num_workers, cores())
        return Loader(
            RandomCrops(self._scans, self._config, self._seed, self._air),
            batch_size=self._config.scans_per_batch,
            sampler=sampler,
            collate_fn=join,
            num_workers=workers,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def _sampler(self) -> VisitSampler:
        return VisitSampler(
            len(self._scans),
            visits=self._config.visits_per_epoch,
            batch=self._config.scans_per_batch,
            seed=self._seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )


def join(visits: Sequence[Batch]) -> Batch:
    """The crops of several visits as one batch."""
    return {key: torch.cat([visit[key] for visit in visits]) for key in visits[0]}
