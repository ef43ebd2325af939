"""The configuration, the shipped recipes, and where they are found."""

from pathlib import Path

import pytest
import torch

from finetune.config import FinetuneConfig, LossConfig
from finetune.losses import SegmentationLoss
from finetune.recipes import find_recipe, shipped_recipes
from swin_unetr.config import InferenceConfig, NetworkConfig, SamplingConfig
from swin_unetr.config_io import from_dict, load, to_dict
from swin_unetr.errors import ConfigError
from swin_unetr.networks import build_network
from swin_unetr.tasks import BTCV, brats
from swin_unetr.training import build_optimizer, build_trainer, warmup_cosine
from swin_unetr.training.speed import Hardware, trainer_for


@pytest.mark.parametrize("name", shipped_recipes())
def test_everything_can_be_built_from_a_recipe(name: str, tmp_path: Path) -> None:
    from transforms.crops import RandomCrops
    from transforms.preprocess import preprocessing

    config = load(FinetuneConfig, find_recipe(name))
    task = brats() if name == "brats" else BTCV
    preprocessing(config.preprocess, task, with_label=True)
    RandomCrops(config.sampling, config.augment, task)
    SegmentationLoss(config.loss, task)
    trainer, _ = trainer_for(config.trainer, Hardware(device="cpu"))
    build_trainer(trainer, tmp_path, monitor="val/dice", metrics=(), gradient_clip=config.optimizer.gradient_clip)
    with torch.device("meta"):
        network = build_network(config.network)
    build_optimizer(network.parameters(), config.optimizer, steps_per_epoch=10, total_steps=100)
    assert from_dict(FinetuneConfig, to_dict(config), source=name) == config


def test_btcv_is_the_published_recipe() -> None:
    config = load(FinetuneConfig, find_recipe("btcv"))
    assert config.preprocess.spacing_mm == (1.5, 1.5, 2.0)
    assert config.preprocess.intensity.scheme == "hu_window"
    assert config.preprocess.intensity.window == (-175, 250)
    sampling = config.sampling
    assert (sampling.crop_size, sampling.crops_per_scan, sampling.scheme) == ((96,) * 3, 4, "positive_negative")
    assert sampling.positive == sampling.negative
    augment = config.augment
    assert (augment.flip_probability, augment.rotate90_probability) == ((0.2,) * 3, 0.2)
    assert (augment.intensity_scale, augment.intensity_scale_probability) == (0.1, 0.1)
    assert (augment.intensity_shift, augment.intensity_shift_probability) == (0.1, 0.1)
    assert (augment.affine_probability, augment.gamma_probability, augment.noise_probability) == (0, 0, 0)
    assert (config.loss.dice, config.loss.cross_entropy) == (1, 1)
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (1e-4, 1e-5)
    assert (config.optimizer.warmup_epochs, config.trainer.max_epochs) == (50, 5000)
    assert (config.validation_overlap, config.inference.overlap, config.network.feature_size) == (0.5, 0.5, 48)


def test_brats_is_the_published_recipe() -> None:
    config = load(FinetuneConfig, find_recipe("brats"))
    assert config.preprocess.intensity.scheme == "zscore_nonzero"
    sampling = config.sampling
    assert (sampling.crop_size, sampling.scheme) == ((128,) * 3, "random")
    assert (sampling.crops_per_scan, sampling.scans_per_batch) == (1, 1)
    augment = config.augment
    assert augment.flip_probability == (0.5,) * 3
    assert (augment.intensity_scale, augment.intensity_scale_probability) == (0.1, 1)
    assert (augment.intensity_shift, augment.intensity_shift_probability) == (0.1, 1)
    assert (augment.rotate90_probability, augment.affine_probability) == (0, 0)
    assert (config.loss.dice, config.loss.cross_entropy) == (1, 0)
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (1e-4, 1e-5)
    assert (config.optimizer.warmup_epochs, config.trainer.max_epochs) == (50, 300)
    assert (config.validation_overlap, config.inference.overlap, config.network.feature_size) == (0.5, 0.6, 48)
    steps = 1000
    rates = [warmup_cosine(epoch * steps, warmup_steps=50 * steps, total_steps=300 * steps) for epoch in range(300)]
    assert min(rates) > 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"network": {"featur_size": 24}}, "network.featur_size"),
        ({"trainer": {"max_epochs": 0}}, "trainer.max_epochs"),
        ({"sampling": {"crop_size": [96, 96, 90]}}, "sampling.crop_size"),
        ({"inference": {"roi_size": [96, 90, 96]}}, "inference.roi_size"),
        ({"validation_overlap": 1.0}, "validation_overlap"),
        ({"loss": {"dice": 0, "cross_entropy": 0}}, "loss.dice"),
        ({"loss": {"class_weights": [0, 0]}}, "loss.class_weights"),
        ({"layout": "dicom"}, "layout"),
        ({"num_folds": 1}, "num_folds"),
        ({"trainer": {"max_epochs": 20}}, "optimizer.warmup_epochs"),
        ({"trainer": {"strategy": "fsdp", "precision": "16-mixed"}}, "trainer.precision"),
        ({"trainer": {"strategy": "fsdp"}, "speed": {"compile": True}}, "speed.compile"),
        ({"augment": {"monai": [{"RandFlipd": {}}]}, "speed": {"augmentation": "device"}}, "speed.augmentation"),
        ({"augment": {"monai": [{"RandFlipd": {}}]}, "speed": {"scans": "device"}}, "speed.scans"),
        ({"augment": {"monai": [{"a.b": {}}]}}, "augment.monai"),
        ({"augment": {"per_channel": ["shift"]}}, "augment.per_channel"),
        ({"augment": {"contrast": [2, 1]}}, "augment.contrast"),
    ],
)
def test_a_wrong_field_is_named(values, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")) as caught:
        from_dict(FinetuneConfig, values, source="mine.yaml")
    assert "\n" not in str(caught.value)


def test_sizes_need_only_fit_the_network_that_is_used() -> None:
    network = NetworkConfig(depths=(2, 2), num_heads=(3, 6), patch_size=(2, 2, 1), merge_strides=((2, 2, 1), (2, 2, 2)))
    sizes = (40, 56, 42)
    config = FinetuneConfig(
        network=network, sampling=SamplingConfig(crop_size=sizes), inference=InferenceConfig(roi_size=sizes)
    )
    assert config.loss == LossConfig()


def test_recipes_are_found_by_name_by_path_and_where_the_project_is_not(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = find_recipe("btcv")
    assert find_recipe("btcv.yaml") == shipped
    assert find_recipe("finetune/recipes/btcv.yaml") == shipped
    own = tmp_path / "btcv.yaml"
    own.write_text("num_folds: 3")
    assert load(FinetuneConfig, find_recipe("btcv.yaml")).num_folds == 3
    for absent in ("btvc", "mine/btcv.yaml", "btcv.json"):
        with pytest.raises(ConfigError, match=r"no such file, nor one of the recipes brats, btcv"):
            find_recipe(absent)
