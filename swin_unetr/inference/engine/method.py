"""What decides on the labels of a prediction, and a key of it: results with the same key were made in the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from swin_unetr.config import InferenceConfig, NetworkConfig, PreprocessConfig
from swin_unetr.config_io import to_dict
from swin_unetr.model_description import ComponentRule
from swin_unetr.tasks import Task
from transforms.steps import PREPROCESSING_VERSION, interpolation_key

#: Fields that matter only in training, or only for speed. Every other field counts, also one that is added later.
_NOT_OF_LABELS: dict[type, tuple[str, ...]] = {
    NetworkConfig: ("drop_rate", "attn_drop_rate", "drop_path_rate", "gradient_checkpointing"),
    InferenceConfig: ("batch_size",),
    Task: ("name", "modality", "other_labels", "ignore_label", "pairs", "terms"),
    PreprocessConfig: ("label_interpolation",),
    ComponentRule: ("reason",),
}


def method_of_models(
    weights: Sequence[str],
    networks: Sequence[NetworkConfig],
    windows: Sequence[InferenceConfig],
    task: Task,
    preprocess: PreprocessConfig,
    postprocess: Sequence[ComponentRule],
) -> dict[str, Any]:
    """What decides on the labels of a prediction: a short hash for each kind of facts.

    Args:
        weights: hashes of the weights, one for each model.
        networks: shapes of the networks.
        windows: the settings that are used, which need not be the models' own.
        task: of all models.
        preprocess: of all models.
        postprocess: the rules that are applied.
    """
    return {
        "weights": [short_hash(each) for each in weights],
        "network": short_hash(list(map(_deciding, networks))),
        "windows": short_hash(list(map(_windows, windows))),
        "task": short_hash(_deciding(task)),
        "preprocess": short_hash({"version": PREPROCESSING_VERSION, **_preprocess(preprocess)}),
        "postprocess": short_hash(list(map(_deciding, postprocess))),
    }


def windows_key(config: InferenceConfig) -> str:
    """A hash of what of a model's windows decides on its labels."""
    return short_hash([_windows(config)])


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of the facts in which two methods differ."""
    return [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]


def short_hash(values: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of values, as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _deciding(config: Any) -> dict[str, Any]:
    without = _NOT_OF_LABELS[type(config)]
    if isinstance(config, NetworkConfig):
        if config.baseline is not None:  # nothing else of its configuration has an effect
            shared = {"in_channels": config.in_channels, "num_classes": config.num_classes}
            return {**shared, "architecture": config.architecture, "options": to_dict(config.baseline)}
        without = (*without, "architecture", "baselines")  # so that old records of a Swin UNETR still match
    return {name: value for name, value in to_dict(config).items() if name not in without}


def _preprocess(config: PreprocessConfig) -> dict[str, Any]:
    """Without fields that were added later and change nothing, so that old records still match."""
    found = _deciding(config)
    for intensity in (found["intensity"], *found["intensity_of"].values()):
        if intensity["scheme"] != "hu_zscore":
            del intensity["mean"], intensity["std"]
    del found["image_interpolation"], found["through_plane"]
    return {**found, **interpolation_key(config)}


def _windows(config: InferenceConfig) -> dict[str, Any]:
    found = _deciding(config)
    found["mirror_axes"] = sorted(config.mirror_axes) if config.tta else []
    pairs = sorted(map(sorted, found.pop("mirror_pairs")))
    if pairs and 0 in found["mirror_axes"]:  # without them, old records still match
        found["mirror_pairs"] = pairs
    return found
