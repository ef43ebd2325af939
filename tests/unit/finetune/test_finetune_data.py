"""Scans, crops and their order."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.batches import Batches, changed
from finetune.config import FinetuneConfig, FinetuneSpeed
from finetune.data import FinetuneData, TrainingCrops
from finetune.run import open_data
from finetune.scans import ScansInMemory, ScansOnDisk
from finetune.scans_on_device import ScansOnDevice, held_bytes
from swin_unetr.config import AugmentConfig, IntensityConfig, NetworkConfig, PreprocessConfig, SamplingConfig
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.training.loaders import Loader
from swin_unetr.training.sampler import Visit
from transforms.monai_changes import MonaiChanges
from transforms.random_parameters import monai_seeds

CONFIG = FinetuneConfig(
    network=NetworkConfig(depths=(1, 1), num_heads=(1, 2)),
    preprocess=PreprocessConfig(intensity=IntensityConfig(scheme="hu_window")),
    sampling=SamplingConfig(crop_size=(16, 16, 8), crops_per_scan=2),
    augment=AugmentConfig(rotate90_probability=0.5, intensity_shift_probability=1.0, noise_probability=0.5),
    inference=replace(FinetuneConfig().inference, roi_size=(32, 32, 24)),
)
BATCHES = Batches(CONFIG.augment, at_once=True)


@pytest.fixture(scope="module")
def dataset(phantom_data: Path) -> Dataset:
    return read_dataset(phantom_data, require_labels=True)


def test_hounsfield_units_of_what_is_no_ct_are_refused(phantom_data: Path, tmp_path: Path) -> None:
    """As the plan or recipe of another data set would have them."""
    shutil.copytree(phantom_data, tmp_path / "mr", symlinks=True)
    description = tmp_path / "mr" / "dataset.json"
    description.write_text(description.read_text().replace('"CT"', '"MRI"'))
    with pytest.raises(ConfigError, match=r"hu_window is for CT, and .*mr is MR"):
        open_data(CONFIG, tmp_path / "mr", None)
    zscore = replace(CONFIG, preprocess=replace(CONFIG.preprocess, intensity=IntensityConfig(scheme="zscore")))
    assert open_data(zscore, tmp_path / "mr", None)[2].modality == "MR"


def test_crops_follow_from_seed_epoch_and_scan_alone(dataset: Dataset) -> None:
    def crops(visit: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
        config = replace(CONFIG, trainer=replace(CONFIG.trainer, seed=seed))
        data = TrainingCrops(ScansInMemory(dataset.cases, dataset.task, config.preprocess), dataset.task, config)
        data[(9, 0, 1)]  # what came before does not matter
        return BATCHES([data[visit]])["image"]

    assert torch.equal(crops((2, 0, 0)), crops((2, 0, 0)))
    assert not torch.equal(crops((2, 0, 0)), crops((3, 0, 0)))
    assert not torch.equal(crops((2, 0, 0)), crops((2, 0, 0), seed=1))


def test_a_batch_is_scans_times_crops_of_plain_tensors(dataset: Dataset) -> None:
    data = TrainingCrops(ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess), dataset.task, CONFIG)
    batch = BATCHES([data[(0, 0, 0)], data[(0, 1, 1)]])
    assert batch["image"].shape == (4, 1, 16, 16, 8)
    assert batch["label"].shape == (4, 1, 16, 16, 8)
    assert {type(value) for value in batch.values()} == {torch.Tensor}
    assert batch["image"].dtype == torch.float32
    assert batch["label"].max() <= 5


def test_a_scan_in_memory_is_kept(dataset: Dataset) -> None:
    scans = ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess)
    before = scans[2]["image"]
    assert scans.prepare() == []
    assert scans[2]["image"] is before


def test_crops_leave_the_kept_scan_as_it_is(dataset: Dataset) -> None:
    scans = ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess)
    before = {key: value.clone() for key, value in scans[0].items()}
    crops = TrainingCrops(scans, dataset.task, CONFIG)
    for epoch in range(5):
        for crop in crops[(epoch, 0, 0)]:
            crop["image"].mul_(0)
    assert all(torch.equal(scans[0][key], before[key]) for key in before)


def test_all_bad_scans_are_named_before_training(dataset: Dataset, tmp_path: Path) -> None:
    good, other = dataset.cases[:2]
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(good.images[0].read_bytes()[:1000])
    bad = [
        Case(id="absent", images=(tmp_path / "absent.nii.gz",), label=good.label),
        Case(id="cut", images=(cut,), label=good.label),
        Case(id="other", images=good.images, label=other.label),
    ]
    data = FinetuneData(training=[good, *bad[:2]], validation=[bad[2]], task=dataset.task, config=CONFIG)
    with pytest.raises(DataError) as caught:
        data.prepare_scans()
    first, *lines = str(caught.value).splitlines()
    assert first == "3 of 4 scans cannot be used:"
    for line, name in zip(lines, ("absent.nii.gz", "cut.nii.gz", good.images[0].name), strict=True):
        assert name in line


def test_changes_that_are_left_to_the_device_are_those_that_the_loader_makes(dataset: Dataset) -> None:
    crops = TrainingCrops(ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess), dataset.task, CONFIG)
    visits = [(1, 0, 0), (1, 1, 3)]
    later = Batches(CONFIG.augment, at_once=False)([crops[visit] for visit in visits])
    before = later["image"].clone()
    at_once = BATCHES([crops[visit] for visit in visits])
    assert set(at_once) == {"image", "label"}
    assert not torch.equal(before, at_once["image"])
    done = changed(later)
    assert set(done) == {"image", "label"}
    assert all(torch.equal(done[key], at_once[key]) for key in done)
    assert changed(done) is done  # a whole scan of the validation has none


@pytest.mark.parametrize("scheme", ["random", "positive_negative", "classes"])
def test_scans_sent_to_a_device_give_the_crops_of_those_in_the_store(dataset, tmp_path, scheme) -> None:
    config = replace(CONFIG, sampling=replace(CONFIG.sampling, scheme=scheme))
    store = ScansOnDisk(dataset.cases, dataset.task, config.preprocess, tmp_path)
    assert store.prepare() == []
    sent = ScansOnDevice(store, torch.device("cpu"))
    ours, theirs = (TrainingCrops(scans, dataset.task, config) for scans in (sent, store))
    for visit in ((0, 0, 0), (2, 0, 1)):
        for crop, other in zip(ours[visit], theirs[visit], strict=True):
            assert all(torch.equal(crop[key], other[key]) for key in crop)
    assert sent[1]["image"].data_ptr() == sent[1]["image"].data_ptr()  # kept
    assert sent.class_voxels(1) == store.class_voxels(1)
    assert held_bytes(store.scan(0), dataset.task) == sum(part.nbytes for part in sent[0].values())


@pytest.mark.parametrize(
    ("device", "speed", "chosen"),
    [
        ("cpu", FinetuneSpeed(scans="device", augmentation="device"), ("memory", "loader")),
        ("mps", FinetuneSpeed(), ("memory", "device")),  # its free memory is not known
        ("mps", FinetuneSpeed(augmentation="loader"), ("memory", "loader")),
        ("mps", FinetuneSpeed(scans="device"), ("device", "device")),
        ("mps", FinetuneSpeed(scans="device", augmentation="loader"), ("device", "device")),
        ("mps", FinetuneSpeed(fast=False, scans="device"), ("memory", "loader")),
    ],
)
def test_where_scans_lie_and_crops_are_changed(dataset: Dataset, device: str, speed: FinetuneSpeed, chosen) -> None:
    config = replace(CONFIG, speed=speed)
    data = FinetuneData(training=dataset.cases, validation=[], task=dataset.task, config=config)
    assert data.place(torch.device(device)) == {"scans": chosen[0], "augmentation": chosen[1]}


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_transforms_of_monai_are_made_where_crops_are_read(dataset: Dataset, device: str) -> None:
    config = replace(CONFIG, augment=replace(CONFIG.augment, monai=({"RandGibbsNoised": {"prob": 0.5}},)))
    data = FinetuneData(training=dataset.cases, validation=[], task=dataset.task, config=config)
    assert data.place(torch.device(device)) == {"scans": "memory", "augmentation": "loader"}


MONAI: tuple[dict[str, dict[str, Any] | None], ...] = (
    {"RandGibbsNoised": {"prob": 0.7, "alpha": [0.2, 0.6]}},
    {"RandFlipd": {"keys": ["image", "label"], "prob": 0.5, "spatial_axis": 1}},
    {"RandBiasFieldd": {"prob": 0.5}},
)


def test_transforms_of_monai_follow_ours_with_seeds_of_the_crops(dataset: Dataset) -> None:
    config = replace(CONFIG, augment=replace(CONFIG.augment, monai=MONAI))
    crops = TrainingCrops(ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess), dataset.task, config)
    one, other = ([crops[visit] for visit in visits] for visits in ([(1, 0, 0), (1, 1, 3)], [(1, 1, 3)]))
    batches = Batches(config.augment, at_once=False)  # they are made at once all the same
    both, alone, plain = batches(one), batches(other), BATCHES(one)
    assert set(both) == {"image", "label"}
    assert all(torch.equal(both[key][2:], alone[key]) for key in both)  # a crop does not depend on its batch
    seeds = monai_seeds(torch.stack([crop["draws"] for visit in one for crop in visit]))
    for index, seed in enumerate(seeds):
        image, label = MonaiChanges(MONAI)(plain["image"][index], plain["label"][index], seed)
        assert torch.equal(both["image"][index], image)
        assert torch.equal(both["label"][index], label)
    assert not torch.equal(both["image"], plain["image"])


def test_crops_are_the_same_with_and_without_workers(dataset: Dataset) -> None:
    config = replace(CONFIG, augment=replace(CONFIG.augment, monai=MONAI))
    crops = TrainingCrops(ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess), dataset.task, config)
    visits = [Visit(0, place, place % 3) for place in range(6)]

    def images(workers: int, start: int = 0) -> list[torch.Tensor]:
        batches = Batches(config.augment, at_once=True)
        loader = Loader(crops, batch_size=2, sampler=visits[start:], collate_fn=batches, num_workers=workers)
        return [batch["image"] for batch in loader]

    whole = images(0)
    assert all(torch.equal(one, other) for one, other in zip(whole, images(2), strict=True))
    assert all(torch.equal(one, other) for one, other in zip(whole[1:], images(0, 2), strict=True))  # after a resume


def test_a_transform_that_fails_in_the_middle_is_one_line(dataset: Dataset) -> None:
    config = replace(CONFIG, augment=replace(CONFIG.augment, monai=({"MaskIntensityd": {"mask_key": "mask"}},)))
    crops = TrainingCrops(ScansInMemory(dataset.cases, dataset.task, CONFIG.preprocess), dataset.task, config)
    found = Batches(config.augment, at_once=True)([crops[(0, 0, 0)]])
    assert isinstance(found, ConfigError)
    assert "augment.monai: MaskIntensityd: fails" in str(found)


def test_an_unknown_transform_is_refused_with_the_data(phantom_data: Path) -> None:
    config = replace(CONFIG, augment=replace(CONFIG.augment, monai=({"RandGibsNoised": None},)))
    with pytest.raises(ConfigError, match=r"augment.monai: .*did you mean RandGibbsNoised"):
        open_data(config, phantom_data, None)
