"""The key of a result: it changes with every field of model.json that changes labels, and with no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import swin_unetr.inference.engine.method
from swin_unetr.checkpoints import load_model, save_model
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.compute import choose_compute
from swin_unetr.inference.engine.method import method_of_models, short_hash
from swin_unetr.inference.engine.models import load_ensemble
from swin_unetr.model_description import ComponentRule, ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.tasks import Target, Task
from transforms.steps import PREPROCESSING_VERSION

TASK = Task(
    name="organs",
    modality="CT",
    channels=("CT", "PET"),
    targets=(Target(name="liver", labels=(1, 3), write_as=1), Target(name="spleen", labels=(2,), write_as=2)),
)
DESCRIPTION = ModelDescription(
    kind="segmentation",
    network=NetworkConfig(in_channels=2, num_classes=3, depths=(1, 1), num_heads=(3, 6), feature_size=12),
    task=TASK,
    preprocess=PreprocessConfig(
        spacing_mm=(1.0, 1.0, 2.0), intensity=IntensityConfig(scheme="hu_window", window=(-100.0, 200.0))
    ),
    inference=InferenceConfig(roi_size=(16, 16, 16), tta=True, mirror_pairs=(("liver", "spleen"),)),
    postprocess=(ComponentRule(structure="liver", largest_only=True, reason="it helps"),),
)
#: Of model.json, by path: what matters in training alone, for speed, or for people.
OTHERS = {
    *("network.drop_rate", "network.attn_drop_rate", "network.drop_path_rate", "network.gradient_checkpointing"),
    *("task.name", "task.modality", "task.other_labels", "task.ignore_label", "task.pairs", "task.terms"),
    *("inference.batch_size", "postprocess.0.reason", "preprocess.label_interpolation"),
    *("preprocess.intensity.mean", "preprocess.intensity.std"),  # of another scheme
}


def key(description: ModelDescription, weights: str = "12ab") -> str:
    assert description.task is not None
    of = description
    method = method_of_models([weights], [of.network], [of.inference], description.task, of.preprocess, of.postprocess)
    return short_hash(method)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all fields that hold no further dataclasses."""
    if is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, tuple) and value and is_dataclass(value[0]):
        yield from leaves(value[0], (*path, 0))
    else:
        yield path


PARTS = ("network", "task", "preprocess", "inference", "postprocess")
PATHS = [path for path in leaves(DESCRIPTION) if path[0] in PARTS]


def changed(of: Any, path: tuple[str | int, ...], to: Any) -> Any:
    """A dataclass with one field changed, unchecked: what fits together is not asked here."""
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        return (changed(of[0], rest, to), *of[1:])
    copy = object.__new__(type(of))
    for field in fields(of):
        object.__setattr__(copy, field.name, getattr(of, field.name))
    object.__setattr__(copy, first, changed(getattr(of, first), rest, to) if rest else to)
    return copy


def other_value(value: Any, draw: Any) -> Any:
    """Of the same type, and not the same."""
    if isinstance(value, bool):
        return not value
    if value == "swin_unetr":
        return "segresnet"  # an architecture is one that there is
    if isinstance(value, str):
        return f"{value}x{draw(st.integers(0, 9))}"
    if isinstance(value, (int, float)):
        return value + draw(st.integers(1, 5))
    if isinstance(value, dict):
        return {**value, "PET": IntensityConfig(scheme="zscore")}
    if isinstance(value, tuple) and value:
        index = draw(st.integers(0, len(value) - 1))
        return (*value[:index], other_value(value[index], draw), *value[index + 1 :])
    return draw(st.sampled_from([7, (1, 2)]))  # where nothing, or None, stood


def value_at(of: Any, path: tuple[str | int, ...]) -> Any:
    for name in path:
        of = of[name] if isinstance(name, int) else getattr(of, name)
    return of


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_every_field_that_changes_labels_changes_the_key_and_no_other(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PATHS))
    other = changed(DESCRIPTION, path, other_value(value_at(DESCRIPTION, path), data.draw))
    # The options of the baselines have no effect on a Swin UNETR.
    is_other = ".".join(map(str, path)) in OTHERS or path[:2] == ("network", "baselines")
    assert (key(other) == key(DESCRIPTION)) == is_other, path


def test_the_fields_that_do_not_count_exist_and_none_is_forgotten() -> None:
    assert {".".join(map(str, path)) for path in PATHS} >= OTHERS
    of_people = {"kind", "provenance", "training_scans", "preprocess_known"}
    assert {field.name for field in fields(ModelDescription)} == {*PARTS, *of_people}


def test_weights_count_and_provenance_does_not() -> None:
    assert key(DESCRIPTION, "34cd") != key(DESCRIPTION)
    assert key(replace(DESCRIPTION, provenance={"seed": 3})) == key(DESCRIPTION)


def test_scans_that_were_preprocessed_by_other_steps_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(DESCRIPTION)
    monkeypatch.setattr(swin_unetr.inference.engine.method, "PREPROCESSING_VERSION", PREPROCESSING_VERSION + 1)
    assert key(DESCRIPTION) != before


def test_fields_that_change_nothing_leave_the_key_as_it_was_without_them() -> None:
    before = {
        "version": PREPROCESSING_VERSION,
        "spacing_mm": [1.0, 1.0, 2.0],
        "intensity": {"scheme": "hu_window", "window": [-100.0, 200.0]},
        "intensity_of": {"PET": {"scheme": "zscore", "window": [-175.0, 250.0]}},
        "crop_foreground": True,
    }
    config = replace(DESCRIPTION.preprocess, intensity_of={"PET": IntensityConfig(scheme="zscore", mean=2.0)})
    method = method_of_models([], [], [], TASK, config, [])
    assert method["preprocess"] == short_hash(before)
    as_stored = replace(config, spacing_mm=None)
    cubic = replace(as_stored, image_interpolation="cubic", through_plane="auto")
    assert method_of_models([], [], [], TASK, cubic, []) == method_of_models([], [], [], TASK, as_stored, [])


@pytest.mark.parametrize("field", ["mean", "std", "window"])
def test_every_number_of_a_ct_by_mean_and_deviation_counts(field: str) -> None:
    values: dict[str, Any] = {"window": (-100.0, 200.0), "mean": 40.0, "std": 60.0}
    others: dict[str, Any] = {"window": (-100.0, 201.0), "mean": 41.0, "std": 61.0}

    def of(**fields: Any) -> str:
        intensity = IntensityConfig(scheme="hu_zscore", **fields)
        return key(replace(DESCRIPTION, preprocess=replace(DESCRIPTION.preprocess, intensity=intensity)))

    assert of(**{**values, field: others[field]}) != of(**values)


def test_mirror_axes_count_where_they_are_mirrored() -> None:
    def of(tta: bool, axes: tuple[int, ...]) -> str:
        return key(replace(DESCRIPTION, inference=replace(DESCRIPTION.inference, tta=tta, mirror_axes=axes)))

    assert of(True, (0, 1, 2)) != of(True, (1,))
    assert of(False, (0, 1, 2)) == of(False, (1,))


def test_pairs_count_where_they_are_exchanged_in_any_order() -> None:
    def of(tta: bool, axes: tuple[int, ...], *pairs: tuple[str, str]) -> str:
        inference = replace(DESCRIPTION.inference, tta=tta, mirror_axes=axes, mirror_pairs=pairs)
        return key(replace(DESCRIPTION, inference=inference))

    pair = ("liver", "spleen")
    assert of(True, (0,), pair) == of(True, (0,), pair[::-1]) != of(True, (0,))
    assert of(True, (1, 2), pair) == of(True, (1, 2))
    assert of(False, (0,), pair) == of(False, (0,))


def test_results_of_earlier_versions_still_match() -> None:
    """Their records know no pairs; the hashes are those of before."""
    inference = InferenceConfig(roi_size=(16, 16, 16), tta=True)
    method = method_of_models(["12ab"], [DESCRIPTION.network], [inference], TASK, DESCRIPTION.preprocess, ())
    assert method["windows"] == "d88a394d4fae8d5f"
    assert method["task"] == "d37be762008a49a2"


@pytest.mark.parametrize(
    ("field", "value"), [("network.merging", "legacy"), ("preprocess.intensity.window", [-100.0, 300.0])]
)
def test_a_change_of_model_json_by_hand_is_seen(tmp_path: Path, field: str, value: Any) -> None:
    save_model(build_network(DESCRIPTION.network), tmp_path, description=DESCRIPTION)
    compute = choose_compute("cpu", "float32", "torch")
    before = load_ensemble(tmp_path, compute).method()
    assert load_ensemble(tmp_path, compute).method() == before
    model = json.loads((tmp_path / "model.json").read_text())
    at = model
    *way, last = field.split(".")
    for name in way:
        at = at[name]
    at[last] = value
    (tmp_path / "model.json").write_text(json.dumps(model))
    after = load_ensemble(tmp_path, compute).method()
    assert [name for name in before if before[name] != after[name]] == [way[0]]


def test_models_in_memory_are_told_apart_by_their_weights(tmp_path: Path) -> None:
    save_model(build_network(DESCRIPTION.network), tmp_path, description=DESCRIPTION)
    compute = choose_compute("cpu", "float32", "torch")
    model = load_model(tmp_path)
    before = load_ensemble(model, compute).method()
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    assert load_ensemble(model, compute).method()["weights"] != before["weights"]


def test_of_a_baseline_its_own_options_change_the_key_and_those_of_others_do_not() -> None:
    network = NetworkConfig(in_channels=2, num_classes=3, architecture="segresnet")
    baseline = replace(DESCRIPTION, network=network)
    options = replace(network.baselines, segresnet=replace(network.baselines.segresnet, init_filters=16))
    others = replace(network.baselines, dynunet=replace(network.baselines.dynunet, residual=True))
    assert key(baseline) != key(replace(DESCRIPTION, network=replace(network, architecture="swin_unetr")))
    assert key(baseline) != key(replace(baseline, network=replace(network, baselines=options)))
    assert key(baseline) == key(replace(baseline, network=replace(network, baselines=others, feature_size=24)))


def test_how_label_maps_were_resampled_does_not_keep_models_apart(make_model) -> None:
    task = replace(TASK, channels=("CT",))
    compute = choose_compute("cpu", "float32", "torch")
    options = ({}, {"label_interpolation": "linear"}, {"image_interpolation": "cubic"})
    one, smooth, cubic = (
        make_model(f"model{index}", task, preprocess=PreprocessConfig(spacing_mm=(1, 1, 1), **of))
        for index, of in enumerate(options)
    )
    assert load_ensemble([one, smooth], compute).preprocess.label_interpolation == "nearest"
    with pytest.raises(ConfigError, match="has another preprocess than the first model"):
        load_ensemble([one, cubic], compute)
