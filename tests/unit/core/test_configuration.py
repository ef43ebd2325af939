"""Configuration: strict reading, and messages that name the dotted path."""

from typing import Any

import pytest

from swin_unetr.config import AugmentConfig, InferenceConfig, NetworkConfig, SamplingConfig
from swin_unetr.config_io import CommandParser, from_dict, load, read_yaml, to_dict
from swin_unetr.errors import ConfigError
from swin_unetr.model_description import ModelDescription
from swin_unetr.tasks import BTCV, brats


def description(**changes: Any) -> dict[str, Any]:
    whole = to_dict(ModelDescription(kind="segmentation", network=NetworkConfig(num_classes=3), task=brats()))
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = whole
        for name in parents:
            inner = inner[name]
        inner[last] = value
    return whole


def test_round_trip_through_plain_types():
    original = ModelDescription(
        kind="segmentation",
        network=NetworkConfig(num_classes=14, merge_strides=((2, 2, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2))),
        task=BTCV,
        provenance={"seed": 3, "dice": {"liver": 0.9}},
    )
    assert from_dict(ModelDescription, to_dict(original), source="model.json") == original


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"foo": 1}, ("foo",)),
        ({"network__featur_size": 24}, ("network.featur_size",)),
        ({"network__feature_size": "many"}, ("network.feature_size", "many")),
        ({"network__depths": [2]}, ("network.depths", "2 to 5 stages")),
        ({"preprocess__intensity__window": [3, 2]}, ("preprocess.intensity.window",)),
        ({"preprocess__intensity__scheme": "minmax"}, ("preprocess.intensity.scheme", "minmax")),
        ({"inference__overlap": 1.5}, ("inference.overlap",)),
        ({"network__num_classes": 5}, ("num_classes", "5", "3")),
    ],
)
def test_wrong_field_is_one_line_with_its_path(changes, words):
    with pytest.raises(ConfigError) as caught:
        from_dict(ModelDescription, description(**changes), source="my.json")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("my.json: ")
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "3"])
def test_yaml_that_is_no_mapping(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        read_yaml(path)


def test_missing_yaml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml.*check the path"):
        load(SamplingConfig, tmp_path / "absent.yaml")


def test_parser_raises_one_line_instead_of_leaving_the_process():
    parser = CommandParser(prog="swin-unetr predict")
    parser.add_argument("--overlap", type=float)
    with pytest.raises(ConfigError, match=r"swin-unetr predict --help") as caught:
        parser.parse_args(["--overlap", "much"])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("cls", "values", "field"),
    [
        (NetworkConfig, {"num_heads": (3, 6)}, "num_heads"),
        (NetworkConfig, {"num_heads": (5, 6, 12, 24)}, "num_heads"),
        (NetworkConfig, {"merging": "legacy", "merge_strides": ((2, 2, 1),) * 4}, "merging"),
        (NetworkConfig, {"drop_rate": 1.5}, "drop_rate"),
        (NetworkConfig, {"window_size": (7, 0, 7)}, "window_size"),
        (InferenceConfig, {"roi_size": (0, 1, 1)}, "roi_size"),
        (SamplingConfig, {"positive": 0.0, "negative": 0.0}, "positive"),
        (AugmentConfig, {"flip_probability": (0.5, 2.0, 0.5)}, "flip_probability"),
        (AugmentConfig, {"zoom": (1.2, 0.8)}, "zoom"),
        (AugmentConfig, {"exchange_sides": True, "rotate90_probability": 0.1}, "exchange_sides"),
    ],
)
def test_refused_values_name_their_field(cls, values, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        cls(**values)


def test_size_divisor_multiplies_patch_and_strides():
    config = NetworkConfig(patch_size=(2, 2, 1), merge_strides=((2, 2, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2)))
    assert config.size_divisor == (16, 32, 8)
    assert NetworkConfig().size_divisor == (32, 32, 32)
