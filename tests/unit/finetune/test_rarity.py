"""Rare structures are cropped at more often, and nothing changes while the option is off."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.config import FinetuneConfig
from finetune.data import FinetuneData, TrainingCrops
from finetune.rarity import rarity_weights
from finetune.scans import open_scans
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig, SamplingConfig
from swin_unetr.datasets import read_dataset
from swin_unetr.tasks import Task, exclusive
from swin_unetr.training.sampler import Visit
from transforms.crops import ScanInMemory, TakeCrops

TASK = Task(name="ct", modality="CT", channels=("CT",), targets=exclusive(("one", "two", "three")))
CONFIG = FinetuneConfig(
    network=NetworkConfig(depths=(1, 1), num_heads=(1, 2)),
    preprocess=PreprocessConfig(spacing_mm=(3.0, 3.0, 4.0), intensity=IntensityConfig(scheme="hu_window")),
    sampling=SamplingConfig(crop_size=(16, 16, 8), scheme="classes", crops_per_scan=2),
    inference=InferenceConfig(roi_size=(32, 32, 24)),
    store="memory",
)


def test_weights_are_shares_to_a_power() -> None:
    voxels = [(1000, 800, 90, 0), (500, 0, 10, 0)]
    assert rarity_weights(voxels, 0) == (1, 1, 0)
    assert rarity_weights(voxels, 1) == pytest.approx((100 / 800, 1, 0))
    assert rarity_weights(voxels, 0.5) == pytest.approx(((1 / 8) ** 0.5, 1, 0))
    assert rarity_weights([(10, 0, 0)], 1) == (0, 0)


def test_a_share_is_that_of_the_scans_in_which_a_structure_was_looked_for() -> None:
    voxels = [(1000, 400, 100), (1000, 0, 100), (1000, 0, 100), (1000, 0, 100)]
    looked_for = [(True, True), (False, True), (False, True), (False, True)]
    assert rarity_weights(voxels, 1) == (1, 1)
    assert rarity_weights(voxels, 1, looked_for) == pytest.approx((0.25, 1))
    assert rarity_weights([(9, 0)], 1, [(False,)]) == (0,)


def scan() -> ScanInMemory:
    label = torch.zeros(1, 24, 26, 22, dtype=torch.uint8)
    label[:, 4:14, 5:15, 3:11] = 1
    label[:, 20, 20, 15] = 2
    return ScanInMemory(torch.zeros(1, 24, 26, 22), label)


def centres(rarity: tuple[float, ...] | None, **fields: float) -> list[int]:
    sampling = SamplingConfig(crop_size=(1, 1, 1), scheme="classes", crops_per_scan=600, **fields)  # type: ignore[arg-type]
    return [int(crop["label"][0]) for crop in TakeCrops(sampling, TASK, rarity).set_random_state(seed=0)(scan())]


def test_structures_are_drawn_in_proportion_and_background_as_before() -> None:
    drawn = np.bincount(centres((0.25, 1.0, 0.5), positive=2, negative=1), minlength=4) / 600
    np.testing.assert_allclose(drawn, [1 / 3, 2 / 3 * 0.2, 2 / 3 * 0.8, 0], atol=0.06)


def test_without_it_the_draws_are_the_same() -> None:
    assert centres(None) == centres((1.0, 1.0, 1.0))


def test_a_training_counts_its_own_scans(phantom_data: Path) -> None:
    dataset = read_dataset(phantom_data, require_labels=True)
    rare = replace(CONFIG, sampling=replace(CONFIG.sampling, rarity_power=0.5))
    training, validation = dataset.cases[:4], dataset.cases[4:]

    def data(config: FinetuneConfig) -> FinetuneData:
        return FinetuneData(training=training, validation=validation, task=dataset.task, config=config)

    assert data(CONFIG).rarity() is None
    counts = np.array(list(data(rare).training_voxels()))[:, 1:].sum(axis=0)
    assert data(rare).rarity() == pytest.approx(tuple((counts.min() / counts) ** 0.5))


def test_crops_of_a_visit_follow_it(phantom_data: Path) -> None:
    dataset = read_dataset(phantom_data, require_labels=True)
    scans = open_scans(dataset.cases, dataset.task, CONFIG, None)
    only_last = [0.0] * (len(dataset.task.targets) - 1) + [1.0]
    config = replace(CONFIG, sampling=replace(CONFIG.sampling, negative=0, crop_size=(8, 8, 8), crops_per_scan=8))
    crops = TrainingCrops(scans, dataset.task, config, rarity=only_last)[Visit(0, 0, 0)]
    assert isinstance(crops, list)
    assert all((crop["label"] == len(only_last)).any() for crop in crops)
    plain, ones = (
        TrainingCrops(scans, dataset.task, CONFIG, rarity=of)[Visit(0, 0, 1)] for of in (None, [1.0] * len(only_last))
    )
    assert isinstance(plain, list)
    assert isinstance(ones, list)
    assert all(torch.equal(one[key], other[key]) for one, other in zip(plain, ones, strict=True) for key in one)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rarity_power": -1.0, "scheme": "classes"}, "rarity_power: must lie in 0..2, got -1"),
        ({"rarity_power": 0.5, "scheme": "random"}, "rarity_power: is for scheme classes, not random"),
    ],
)
def test_what_has_no_effect_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SamplingConfig(**fields)  # type: ignore[arg-type]
