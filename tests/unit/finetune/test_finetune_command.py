"""The options of the command."""

import subprocess
import sys

import pytest

from finetune.command import build_parser
from finetune.config import FinetuneConfig
from finetune.recipes import find_recipe
from swin_unetr.config_io import from_dict, read_yaml, to_dict
from swin_unetr.errors import ConfigError

OWN = ["--data", "scans", "--output", "run"]


def parse(recipe: dict, *options: str) -> FinetuneConfig:
    values = build_parser(recipe).parse_args([*OWN, *options]).as_dict()
    return from_dict(FinetuneConfig, {name: values[name] for name in to_dict(FinetuneConfig())}, source="")


@pytest.mark.parametrize("name", ["brats", "btcv", "decathlon"])
def test_options_that_are_not_given_are_the_recipes(name: str) -> None:
    recipe = read_yaml(find_recipe(name))
    assert parse(recipe) == from_dict(FinetuneConfig, recipe, source=name)


def test_every_field_can_be_given(tmp_path) -> None:
    recipe = read_yaml(find_recipe("btcv"))
    config = parse(
        recipe,
        *("--network.feature_size", "24"),
        *("--network.merging", "mergingv2"),
        *("--network.merge_strides", "[[2,2,1],[2,2,2],[2,2,2],[2,2,2]]"),
        *("--preprocess.spacing_mm", "null"),
        *("--preprocess.intensity.window", "[-100,300]"),
        *("--trainer.early_stop_patience", "3"),
        *("--loss.class_weights", "[1,2,3]"),
        *("--store", "memory"),
    )
    assert config.network.feature_size == 24
    assert config.network.merge_strides[0] == (2, 2, 1)
    assert config.preprocess.spacing_mm is None
    assert config.preprocess.intensity.window == (-100, 300)
    assert config.trainer.early_stop_patience == 3
    assert config.loss.class_weights == (1, 2, 3)
    assert config.store == "memory"
    assert config.sampling.crops_per_scan == 4  # still the recipe's


def test_transforms_of_monai_can_be_given() -> None:
    recipe = {"augment": {"monai": [{"RandFlipd": {"prob": 0.5}}], "per_channel": ["gamma"]}}
    assert parse(recipe).augment.monai == ({"RandFlipd": {"prob": 0.5}},)
    config = parse(
        recipe,
        *("--augment.monai", "[{RandGibbsNoised: {prob: 0.1, alpha: [0, 0.5]}}, {RandBiasFieldd: {}}]"),
        *("--augment.per_channel", "[noise,contrast]"),
        *("--augment.exchange_sides", "true"),
    )
    assert config.augment.monai == ({"RandGibbsNoised": {"prob": 0.1, "alpha": [0, 0.5]}}, {"RandBiasFieldd": {}})
    assert config.augment.per_channel == ("noise", "contrast")
    assert config.augment.exchange_sides


@pytest.mark.parametrize(
    "options", [["--sampling.crop_size", "96"], ["--layout", "dicom"], ["--unknown", "1"], ["--resume", "maybe"]]
)
def test_a_wrong_option_is_named_in_one_line(options: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({}, *options)
    assert options[0].lstrip("-") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_explains_every_field_with_the_recipes_values_at_once() -> None:
    command = [sys.executable, "-m", "swin_unetr", "finetune", "--config", "btcv", "--help"]
    text = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "Channels after the patch embedding; doubled by every stage. (default: 48)" in text
    assert "default: [1.5, 1.5, 2.0]" in text
    assert "--network.in_channels" not in text
    fields = [f"--{group}.{name}" for group, values in to_dict(FinetuneConfig()).items() if isinstance(values, dict)
              for name in values]  # fmt: skip
    missing = [name for name in fields if f"{name} " not in text]
    assert missing == [
        "--network.in_channels",
        "--network.num_classes",
        "--network.baselines",  # a group of fields
        "--preprocess.intensity",
        "--inference.mirror_axes",
        "--inference.mirror_pairs",
    ]
