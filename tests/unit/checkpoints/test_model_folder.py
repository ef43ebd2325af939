"""Model folders: what is written comes back, and what is damaged is refused in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from swin_unetr.checkpoints import load_model, save_model
from swin_unetr.config import InferenceConfig, IntensityConfig, NetworkConfig, PreprocessConfig
from swin_unetr.errors import CheckpointError
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import build_network
from swin_unetr.tasks import brats

TASK = brats()
NETWORK = NetworkConfig(
    in_channels=4,
    num_classes=3,
    feature_size=6,
    depths=(1, 1),
    num_heads=(1, 2),
    window_size=(2, 2, 2),
    patch_size=(2, 2, 1),
    merge_strides=((2, 2, 1), (2, 2, 2)),
)
DESCRIPTION = ModelDescription(
    kind="segmentation",
    network=NETWORK,
    task=TASK,
    preprocess=PreprocessConfig(spacing_mm=(1.0, 1.0, 2.0), intensity=IntensityConfig(scheme="zscore_nonzero")),
    inference=InferenceConfig(roi_size=(16, 16, 8), overlap=0.25),
    provenance={"seed": 3, "dice": {"TC": 0.5}},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(build_network(NETWORK), tmp_path / "model", description=DESCRIPTION)
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    network = build_network(NETWORK)
    save_model(network, tmp_path / "new" / "model", description=DESCRIPTION)
    assert {path.name for path in (tmp_path / "new" / "model").iterdir()} == {"model.json", "model.safetensors"}
    loaded = load_model(tmp_path / "new" / "model")
    assert loaded.description == DESCRIPTION
    image = torch.randn(1, 4, 16, 16, 8)
    assert torch.equal(loaded.network(image), network(image))
    assert json.loads((tmp_path / "new" / "model" / "model.json").read_text())["format_version"] == 2


def test_saving_replaces_what_is_there(folder: Path) -> None:
    network = build_network(NETWORK)
    save_model(network, folder, description=replace(DESCRIPTION, provenance={"epoch": 2}))
    loaded = load_model(str(folder))
    assert loaded.description.provenance == {"epoch": 2}
    assert torch.equal(loaded.network.head.weight, network.head.weight)


def test_a_description_of_another_network_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not describe"):
        save_model(build_network(replace(NETWORK, feature_size=8)), tmp_path / "model", description=DESCRIPTION)
    with pytest.raises(ValueError, match="does not describe"):
        save_model(build_network(NETWORK).encoder, tmp_path / "model", description=DESCRIPTION)
    assert not (tmp_path / "model").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def drop_version(folder: Path) -> None:
    values = json.loads((folder / "model.json").read_text())
    del values["format_version"]
    (folder / "model.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (rewrite(format_version=3), ("format 3", "up to format 2", "update")),
        (rewrite(format_version="1"), ("model.json", "format_version")),
        (rewrite(format_version=0), ("model.json", "format_version")),
        (drop_version, ("model.json", "format_version")),
        (rewrite(colour="red"), ("model.json", "colour")),
        (rewrite(network={"feature_sise": 12}), ("model.json", "network", "feature_sise")),
        (lambda folder: (folder / "model.json").unlink(), ("holds no model.json", "no model or run folder")),
        (lambda folder: cut(folder / "model.json"), ("model.json", "damaged", "copy")),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe\x00"), ("model.json", "damaged")),
        (lambda folder: (folder / "model.json").write_text("[]"), ("model.json", "format_version")),
        (lambda folder: (folder / "model.safetensors").unlink(), ("model.safetensors", "missing", "copy")),
        (lambda folder: cut(folder / "model.safetensors"), ("model.safetensors", "damaged", "copy")),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), ("model.safetensors", "damaged")),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(
    folder: Path, damage: Callable[[Path], None], words: tuple[str, ...]
) -> None:
    damage(folder)
    with pytest.raises(CheckpointError) as error:
        load_model(folder)
    message = str(error.value)
    assert str(folder) in message
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing: no such model folder"):
        load_model(tmp_path / "nothing")


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    other = replace(NETWORK, feature_size=8)
    save_model(build_network(other), tmp_path / "other", description=replace(DESCRIPTION, network=other))
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"bottleneck.*is 32x32x3x3x3, should be 24x24x3x3x3") as error:
        load_model(folder)
    assert "\n" not in str(error.value)


def test_an_encoder_is_no_segmentation_model(tmp_path: Path) -> None:
    description = ModelDescription(kind="encoder", network=NETWORK)
    save_model(build_network(NETWORK).encoder, tmp_path / "encoder", description=description)
    with pytest.raises(CheckpointError, match=r"holds an encoder.*--init"):
        load_model(tmp_path / "encoder")
