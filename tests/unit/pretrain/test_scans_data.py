"""Crops are random, the same for the same seed, and read without anything being kept."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from pretrain.scans.air import air_levels, tissue_share
from pretrain.scans.cached import CachedScans
from pretrain.scans.config import ScansConfig
from pretrain.scans.data import PretrainScans, RandomCrops
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets import Case
from swin_unetr.store.scan_file import write_scan

SMALL = ScansConfig(crop_size=(8, 8, 8), scans_per_batch=2, crops_per_scan=2, num_workers=0)


def cached(folder: Path, shapes: Sequence[tuple[int, int, int]]) -> CachedScans:
    """Scans whose voxels tell the scan and the place: 1000 x scan + 1 + place along X, and so on in three channels."""
    scans = []
    for index, shape in enumerate(shapes):
        places = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"))
        scans.append(write_scan(folder / f"{index}.scan", str(index), (places + 1 + 1000 * index).astype(np.float32)))
    cases = tuple(Case(id=str(index), images=(Path(f"{index}.nii.gz"),)) for index in range(len(shapes)))
    hashes = tuple(f"{index:032x}" for index in range(len(shapes)))
    return CachedScans(
        scans=tuple(scans),
        cases=cases,
        hashes=hashes,
        channel_hashes=(),
        skipped=(),
        duplicates=(),
        excluded=(),
        found=len(cases),
    )


@pytest.fixture
def scans(tmp_path) -> CachedScans:
    return cached(tmp_path, [(20, 24, 28), (40, 20, 12), (9, 40, 33), (16, 16, 16), (30, 8, 60)])


class Recorder(LightningModule):
    """Learns nothing, and notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[dict[str, torch.Tensor]] = []

    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        self.seen.append({key: value.clone() for key, value in batch.items()})
        return self.weight * 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class StopAfter(Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if batch_idx + 1 < trainer.num_training_batches:  # as `ResumePoint` does; after the last, the epoch ends first
            self.on_train_epoch_end(trainer)

    def on_train_epoch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.steps and not trainer.should_stop:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "stopped.ckpt")
            trainer.should_stop = True


def run(
    scans: CachedScans, folder: Path, config=SMALL, epochs=3, stop=None, resume=None
) -> list[dict[str, torch.Tensor]]:
    module = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder), *([StopAfter(stop)] if stop else [])],
    )
    trainer.fit(module, datamodule=PretrainScans(scans, config, seed=3), ckpt_path=resume)
    return module.seen


def same(one: Sequence[dict[str, torch.Tensor]], other: Sequence[dict[str, torch.Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in a
    )


def test_batches_are_crops_with_the_index_of_their_scan(scans, tmp_path) -> None:
    batches = run(scans, tmp_path, epochs=4)
    assert len(batches) == 4 * 3
    for batch in batches:
        assert batch["image"].shape == (4, 3, 8, 8, 8)
        assert (batch["image"].dtype, batch["scan"].dtype) == (torch.float32, torch.int64)
        voxels = batch["image"].flatten(1)
        assert torch.equal((voxels.mean(1) / 1000).floor().long(), batch["scan"])
        assert batch["scan"].tolist()[::2] == batch["scan"].tolist()[1::2]
    for epoch in range(4):
        visited = torch.cat([batch["scan"][::2] for batch in batches[3 * epoch : 3 * epoch + 3]]).tolist()
        assert sorted(visited[:5]) == list(range(5))  # each once; the last batch is filled with the first again
        assert visited[5] == visited[0]


def test_crops_lie_anywhere_and_differ(scans) -> None:
    crops = RandomCrops(scans.scans, SMALL, seed=0)
    corners = torch.cat([crops[(epoch, 0, 0)]["image"][:, :, 0, 0, 0] for epoch in range(300)]).round().int() - 1
    assert len({tuple(corner) for corner in corners.tolist()}) > 500
    assert corners.min(0).values.tolist() == [0, 0, 0]
    assert corners.max(0).values.tolist() == [12, 16, 20]


def test_a_crop_is_whole_where_it_lies(scans) -> None:
    (first, *_) = RandomCrops(scans.scans, SMALL, seed=0)[(0, 0, 1)]["image"]
    corner = first[:, :1, :1, :1]
    places = np.stack(np.meshgrid(*(np.arange(8),) * 3, indexing="ij"))
    np.testing.assert_allclose(first, corner + places, atol=0.01)


def test_seed_epoch_and_place_decide_and_nothing_else(scans) -> None:
    def image(seed: int = 0, epoch: int = 0, place: int = 0) -> torch.Tensor:
        torch.manual_seed(place + 10 * epoch + seed)
        return RandomCrops(scans.scans, SMALL, seed)[(epoch, place, 2)]["image"]

    assert torch.equal(image(), image())
    for other in (image(seed=1), image(epoch=1), image(place=1)):
        assert not torch.equal(image(), other)


def test_a_crop_of_one_value_is_drawn_again(tmp_path) -> None:
    array = np.zeros((1, 40, 8, 8), np.float32)
    array[:, 30:] = np.random.default_rng(0).random((10, 8, 8))
    crops = RandomCrops([write_scan(tmp_path / "x.scan", "x", array)], SMALL, seed=0)
    images = torch.cat([crops[(epoch, 0, 0)]["image"] for epoch in range(50)])
    assert (images.flatten(1).std(1) > 0).float().mean() > 0.9  # a third by chance


def test_scans_smaller_than_a_crop_lie_in_its_middle_and_it_is_said(scans) -> None:
    config = ScansConfig(crop_size=(32, 8, 8), crops_per_scan=1)
    image = RandomCrops(scans.scans, config, seed=0)[(0, 0, 3)]["image"][0, 0]
    assert not image[:8].any()
    assert not image[24:].any()
    assert (image[8:24] > 3000).all()
    notice = PretrainScans(scans, config, seed=0).padding_notice
    assert notice == (
        "4 of 5 scans are smaller than the crop of 32x8x8 voxels along an axis and are padded with zeros "
        "(the first: 0.nii.gz, 20x24x28)"
    )
    assert PretrainScans(scans, SMALL, seed=0).padding_notice is None


def test_scans_smaller_than_a_crop_lie_anywhere_in_it_if_asked(scans) -> None:
    config = ScansConfig(crop_size=(32, 8, 8), crops_per_scan=1, short_scans="anywhere")
    crops = RandomCrops(scans.scans, config, seed=0)
    starts = set()
    for epoch in range(150):
        image = crops[(epoch, 0, 3)]["image"][0, 0]
        inside = image[:, 0, 0] > 3000
        assert inside.sum() == 16  # whole
        starts.add(int(inside.nonzero().min()))
    assert starts == set(range(17))


def test_a_crop_of_air_is_drawn_again_and_the_fullest_is_taken(tmp_path) -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 0.2, (1, 40, 8, 8)).astype(np.float32)  # noisy air, which no value alone tells
    array[:, 20:24] = 0.6
    scan = write_scan(tmp_path / "x.scan", "x", array)
    window = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(-1000, 1000)))

    def shares(least: float) -> torch.Tensor:
        config = ScansConfig(crop_size=(8, 8, 8), crops_per_scan=1, least_tissue=least)
        crops = RandomCrops([scan], config, 0, air_levels(window, 1))
        images = torch.cat([crops[(epoch, 0, 0)]["image"] for epoch in range(80)])
        return (images > 0.5).float().mean((1, 2, 3, 4))

    assert (shares(0.0) == 0).float().mean() > 0.5
    wanted = shares(0.25)
    assert (wanted >= 0.25).float().mean() > 0.8  # 0.92 of 8 draws
    assert (wanted == 0).float().mean() < 0.1
    assert (shares(0.99) > 0).float().mean() > 0.9  # no crop has so much: the fullest of 8


@pytest.mark.parametrize(
    ("intensity", "level"),
    [
        (IntensityConfig(scheme="hu_window", window=(-1000, 1000)), 0.25),
        (IntensityConfig(scheme="hu_window", window=(-175, 250)), 0.0),
        (IntensityConfig(scheme="hu_zscore", window=(-900, 300), mean=100, std=200), -3.0),
        (IntensityConfig(scheme="zscore"), 0.0),
    ],
)
def test_air_is_below_500_hounsfield_units_or_the_mean(intensity: IntensityConfig, level: float) -> None:
    assert air_levels(PreprocessConfig(intensity=intensity), 1) == pytest.approx((level,), abs=0.002)
    crop = np.full((1, 2, 2, 2), level - 0.1, np.float32)
    crop[0, 0] = level + 0.1
    crop[0, 0, 0, 0] = 0  # beyond the scan
    assert tissue_share(crop, air_levels(PreprocessConfig(intensity=intensity), 1)) == 3 / 8


def test_workers_give_the_same_batches(scans, tmp_path) -> None:
    with_workers = ScansConfig(**{**vars(SMALL), "num_workers": 2})
    assert same(run(scans, tmp_path, with_workers), run(scans, tmp_path))


@pytest.mark.parametrize("stop", [3, 4])
def test_a_resumed_run_sees_the_same_crops(scans, tmp_path, stop) -> None:
    whole = run(scans, tmp_path)
    before = run(scans, tmp_path, stop=stop)
    after = run(scans, tmp_path, resume=tmp_path / "stopped.ckpt")
    assert same([*before[:stop], *after], whole)


def resident() -> int:
    """KB of memory that this process holds, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads the process's memory from /proc")
def test_memory_stays_flat(tmp_path) -> None:
    rng = np.random.default_rng(0)
    arrays = (rng.random((1, 128, 128, 128), np.float32) for _ in range(12))
    scans = [write_scan(tmp_path / f"{index}.scan", "x", array) for index, array in enumerate(arrays)]
    crops = RandomCrops(scans, ScansConfig(crop_size=(48, 48, 48), crops_per_scan=1), seed=0)

    def grown(epochs: range) -> int:
        before = resident()
        for epoch in epochs:
            for index in range(len(scans)):
                crops[(epoch, index, index)]
        return resident() - before

    grown(range(2))
    assert grown(range(2, 20)) < 5000  # the scans are 50,000 KB
    before = resident()
    mapped = [np.memmap(scan.file, np.uint8, "r") for scan in scans]
    assert sum(int(array.max()) for array in mapped) > 0
    assert resident() - before > 30_000  # what a memory map would hold is seen by this measure
