"""What a recipe may say, and what is refused with the reason."""

import pytest

from pretrain.config import PretrainConfig
from pretrain.recipes import shipped_recipes
from swin_unetr.config_io import from_dict, read_yaml, to_dict
from swin_unetr.errors import ConfigError

TOKEN = {"contrastive": {"reads": "token"}}


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_is_a_configuration_and_comes_back_from_one(name) -> None:
    path = shipped_recipes()[name]
    config = from_dict(PretrainConfig, read_yaml(path), source=str(path))
    assert from_dict(PretrainConfig, to_dict(config), source="again") == config


def test_the_published_recipe_is_as_published() -> None:
    config = from_dict(PretrainConfig, read_yaml(shipped_recipes()["ct_paper"]), source="ct_paper")
    tasks = config.proxies
    assert [task.weight for task in (tasks.inpainting, tasks.rotation, tasks.contrastive, tasks.masked)] == [1, 1, 1, 0]
    assert (tasks.inpainting.share, tasks.contrastive.temperature, tasks.contrastive.embedding) == (0.3, 0.5, 512)
    assert config.scans.crop_size == (96, 96, 96)
    assert config.scans.scans_per_batch * config.scans.crops_per_scan == 4
    assert (config.optimizer.learning_rate, config.optimizer.weight_decay) == (4e-4, 1e-5)
    assert config.preprocess.intensity.window == (-1000, 1000)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scans": {"scans_per_batch": 1, "crops_per_scan": 1}}, "at least two crops in a batch, which has one"),
        ({"scans": {"scans_per_batch": 1, "crops_per_scan": 4}}, "crops of one scan are no negatives"),
        ({"views": 1}, "compares two views"),
        ({"scans": {"crop_size": [96, 96, 90]}}, "must be multiples of"),
        ({"scans": {"crop_size": [32, 32, 32]}, "proxies": TOKEN}, "one token"),
        ({"scans": {"crop_size": [64, 96, 96]}, "proxies": {"rotation": {"reads": "token"}}}, "square"),
        ({"proxies": {name: {"weight": 0} for name in ("inpainting", "rotation", "contrastive")}}, "all weights are 0"),
        ({"proxies": {"rotation": {"weight": -1}}}, "must not be negative"),
        ({"proxies": {"inpainting": {"share": 1.5}}}, r"must lie in 0\.\.1"),
        ({"proxies": {"inpainting": {"edges": [0.5, 0.2]}}}, "shortest <= longest"),
        ({"proxies": {"contrastive": {"temperature": 0}}}, "must be positive"),
        ({"proxies": {"masked": {"weight": 1, "cube": 15}}}, "multiple of the patch"),
        ({"proxies": {"masked": {"weight": 1, "cube": 96}}}, "leaves one cube"),
        ({"trainer": {"early_stop_patience": 3}}, "no validation to stop by"),
        ({"optimizer": {"warmup_epochs": 50}, "trainer": {"max_epochs": 50}}, "leave nothing"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(fields, words) -> None:
    with pytest.raises(ConfigError, match=words):
        from_dict(PretrainConfig, fields, source="recipe")


@pytest.mark.parametrize(
    "fields",
    [
        {
            "scans": {"scans_per_batch": 1, "crops_per_scan": 4},
            "proxies": {"contrastive": {"same_scan_negatives": True}},
        },
        {"scans": {"scans_per_batch": 1, "crops_per_scan": 4}, "proxies": {"contrastive": {"loss": "barlow_twins"}}},
        {"scans": {"scans_per_batch": 1, "crops_per_scan": 1}, "views": 1, "proxies": {"contrastive": {"weight": 0}}},
    ],
)
def test_what_can_work_is_taken(fields) -> None:
    from_dict(PretrainConfig, fields, source="recipe")
