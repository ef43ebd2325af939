"""What a training can start from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from swin_unetr.checkpoints import save_model, start_from
from swin_unetr.config import NetworkConfig
from swin_unetr.errors import CheckpointError
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import SwinBody, build_network
from swin_unetr.tasks import Task, exclusive

SMALL = NetworkConfig(feature_size=6, depths=(1, 1), num_heads=(1, 2), window_size=(2, 2, 2), num_classes=2)
TASK = Task(name="organ", modality="CT", channels=("CT",), targets=exclusive(("organ",)))


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    description = ModelDescription(kind="encoder", network=SMALL)
    save_model(build_network(SMALL).encoder, tmp_path / "encoder", description=description)
    return tmp_path / "encoder"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a whole model in `best/`."""
    description = ModelDescription(kind="segmentation", network=SMALL, task=TASK)
    save_model(build_network(SMALL), tmp_path / "run" / "best", description=description)
    return tmp_path / "run"


def test_an_encoder_leaves_the_decoder_fresh(encoder: Path) -> None:
    network = build_network(SMALL)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = start_from(network, encoder)
    for name, tensor in network.state_dict().items():
        assert name in (report.loaded if name.startswith("encoder.") else report.missing)
        assert torch.equal(tensor, before[name]) != name.startswith("encoder.") or "norm" in name
    assert not any((report.unexpected, report.unfit))
    assert report.merging == "mergingv2"


def test_an_encoder_starts_an_encoder_and_takes_more_channels(encoder: Path) -> None:
    first, second = build_network(SMALL).encoder, build_network(replace(SMALL, in_channels=3)).encoder
    assert not start_from(first, encoder).missing
    assert list(start_from(second, encoder).adapted) == ["encoder.patch_embedding.projection.weight"]
    image = torch.randn(1, 1, 8, 8, 8)
    for one, three in zip(first(image), second(image.expand(1, 3, 8, 8, 8)), strict=True):
        torch.testing.assert_close(three, one, rtol=1e-3, atol=1e-4)


def test_a_model_gives_all_that_fits(run: Path) -> None:
    report = start_from(build_network(replace(SMALL, num_classes=4)), run)
    assert set(report.unfit) == {"head.weight", "head.bias"}
    assert not any((report.missing, report.unexpected))
    assert str(run / "best") in report.source
    same = build_network(SMALL)
    assert len(start_from(same, run / "best").loaded) == len(same.state_dict())
    only_encoder = start_from(same.encoder, run)
    assert "decoder.0.upsample.weight" in only_encoder.unexpected


def test_a_body_gives_everything_but_the_output_layer(tmp_path: Path, encoder: Path, run: Path) -> None:
    body = SwinBody(SMALL)
    save_model(body, tmp_path / "body", description=ModelDescription(kind="body", network=SMALL))
    network = build_network(replace(SMALL, num_classes=5))
    before = network.head.weight.clone()
    report = start_from(network, tmp_path / "body")
    assert report.missing == ("head.bias", "head.weight")
    assert set(report.loaded) == set(body.state_dict())
    assert not any((report.unexpected, report.unfit, report.adapted))
    for name, tensor in body.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    assert torch.equal(network.head.weight, before)
    said = "carried over: the whole network but its output layer"
    assert said in report.summary()
    assert said not in start_from(network, encoder).summary()
    assert said not in start_from(build_network(SMALL), run).summary()  # it has the same classes
    assert len(start_from(build_network(replace(SMALL, in_channels=3)), tmp_path / "body").adapted) == 3


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"feature_size": 8}, "feature_size"),
        ({"depths": (1, 2)}, "depths"),
        ({"merging": "legacy"}, "merging"),
        ({"merge_strides": ((2, 2, 1), (2, 2, 2))}, "merge_strides"),
        ({"normalize": False}, "normalize"),
        ({"window_size": (4, 4, 4)}, "window_size"),
    ],
)
def test_another_encoder_is_refused_by_the_field_that_differs(encoder: Path, fields, name: str) -> None:
    network = build_network(replace(SMALL, **fields))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"set network.{name}") as error:
        start_from(network, encoder)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_published_file_wants_its_own_merging(monai_weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": monai_weights}, tmp_path / "published.pt")
    config = NetworkConfig(feature_size=12, num_classes=3, merging="legacy")
    report = start_from(build_network(config), tmp_path / "published.pt")
    assert len(report.loaded) == len(monai_weights) - 8
    with pytest.raises(CheckpointError, match=r"network\.merging to legacy.*import-weights --merging mergingv2"):
        start_from(build_network(replace(config, merging="mergingv2")), tmp_path / "published.pt")


def test_an_empty_folder_and_a_missing_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.json"):
        start_from(build_network(SMALL), tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        start_from(
            build_network(replace(SMALL, depths=(1,) * 4, num_heads=(1,) * 4, merging="legacy")), tmp_path / "x.pt"
        )


def test_a_path_that_holds_no_weights_is_not_blamed_for_its_merging(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    for name in ("runs/typo", "notes.txt"):
        with pytest.raises(CheckpointError) as error:
            start_from(build_network(replace(SMALL, merging="mergingv2")), tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: ")
        assert "merging" not in str(error.value)
