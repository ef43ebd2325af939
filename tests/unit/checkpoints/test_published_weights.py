"""Import of published files in all their spellings, and export; MONAI's own class makes and reads them."""

import argparse
import os
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR
from safetensors.torch import save_file
from torch import Tensor

from swin_unetr.checkpoints import export_monai_weights, import_monai_weights
from swin_unetr.config import NetworkConfig
from swin_unetr.errors import CheckpointError
from swin_unetr.networks import build_network

SIZE = (32, 32, 64)
SSL_HEADS = ("rotation_head.weight", "contrastive_head.bias", "convTrans3d.weight", "norm.weight")


def bare_encoder(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    encoder = {key.removeprefix("swinViT."): value for key, value in weights.items() if key.startswith("swinViT.")}
    return encoder | {name: torch.zeros(3) for name in SSL_HEADS}


def spelled(weights: Mapping[str, Tensor], *changes: tuple[str, str]) -> dict[str, Tensor]:
    keys = {key: key for key in weights}
    for pattern, replacement in changes:
        keys = {key: re.sub(pattern, replacement, name) for key, name in keys.items()}
    return {keys[key]: value for key, value in weights.items()}


MODULE = (r"^", "module.")
FC = (r"mlp\.linear", "mlp.fc")
SNAKE = (r"swinViT", "swin_vit")
NESTED = (r"^(layers\d\.0\.)", r"\g<1>0.")
IN_ENCODER = (r"^(patch_embed|layers)", r"encoder.\1")
WHOLE: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda weights: weights,
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 7, "best_acc": np.float64(0.8)},
    "model": lambda weights: {"model": weights, "args": argparse.Namespace(lr=1e-4), "loss": np.float32(1)},
    "parallel": lambda weights: {"state_dict": spelled(weights, MODULE)},
    "fc": lambda weights: {"state_dict": spelled(weights, FC)},
    "snake": lambda weights: {"state_dict": spelled(weights, SNAKE, FC, MODULE)},
    "lightning": lambda weights: {"state_dict": spelled(weights, (r"^", "model."))},
    "wrapped twice": lambda weights: {"model": {"state_dict": weights}},
}
ENCODERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "model_swinvit.pt": lambda weights: {"state_dict": spelled(bare_encoder(weights), FC, MODULE), "epoch": 1},
    "prefixed": lambda weights: {"model": {k: v for k, v in weights.items() if k.startswith("swinViT.")}},
    "disruptive autoencoders": lambda weights: {"model": spelled(bare_encoder(weights), NESTED, IN_ENCODER)},
}


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        torch.save(content, tmp_path / "published.pt")
        return tmp_path / "published.pt"

    return write


@pytest.mark.parametrize("form", WHOLE)
def test_a_whole_network_in_every_spelling(form: str, monai_weights: dict[str, Tensor], save) -> None:
    network, report = import_monai_weights(save(WHOLE[form](monai_weights)))
    assert len(report.loaded) == len(network.state_dict()) == len(monai_weights) - 8
    assert not any((report.missing, report.unexpected, report.unfit, report.adapted))
    assert len(report.verified) == 8  # the position index of each block
    assert (network.config.feature_size, network.config.in_channels, network.config.num_classes) == (12, 1, 3)
    assert network.config.merging == report.merging == "legacy"
    assert "assumed" in report.merging_reason
    for name, tensor in export_monai_weights(network, monai_1_4=True).items():
        assert torch.equal(tensor, monai_weights[name]), name


@pytest.mark.parametrize("form", ENCODERS)
def test_a_bare_encoder_in_every_spelling(form: str, monai_weights: dict[str, Tensor], save) -> None:
    network, report = import_monai_weights(save(ENCODERS[form](monai_weights)))
    assert set(report.loaded) == {name for name in network.state_dict() if name.startswith("encoder.")}
    assert set(report.missing) == {name for name in network.state_dict() if not name.startswith("encoder.")}
    assert {key.removeprefix("module.") for key in report.unexpected} == ({*SSL_HEADS} if form != "prefixed" else set())
    exported = export_monai_weights(network, monai_1_4=True)
    assert all(torch.equal(exported[key], value) for key, value in monai_weights.items() if key.startswith("swinViT."))


def test_safetensors(monai_weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(monai_weights, tmp_path / "weights.safetensors")
    _, report = import_monai_weights(str(tmp_path / "weights.safetensors"))
    assert len(report.loaded) == len(monai_weights) - 8


@pytest.mark.slow
@pytest.mark.parametrize("merging", ["merging", "mergingv2"])
@pytest.mark.parametrize("use_v2", [False, True])
def test_there_and_back_computes_the_same(merging: str, use_v2: bool, save) -> None:
    options = {"in_channels": 2, "out_channels": 4, "feature_size": 12, "use_v2": use_v2, "downsample": merging}
    options |= {"depths": (1, 2, 1, 1), "window_size": (4, 4, 4), "qkv_bias": False, "patch_norm": True}
    theirs = MonaiSwinUNETR(**options).eval()
    network, report = import_monai_weights(save(theirs.state_dict()), merging=merging)
    assert report.merging_reason == "as given"
    assert network.config == NetworkConfig(
        in_channels=2,
        num_classes=4,
        feature_size=12,
        depths=(1, 2, 1, 1),
        window_size=(4, 4, 4),
        merging=merging,
        qkv_bias=False,
        patch_norm=True,
        use_v2=use_v2,
    )
    again = MonaiSwinUNETR(**options).eval()
    again.load_state_dict(export_monai_weights(network), strict=True)
    image = torch.randn(1, 2, *SIZE)
    with torch.no_grad():
        assert torch.equal(again(image), theirs(image))
        torch.testing.assert_close(network.eval()(image), theirs(image), rtol=1e-4, atol=1e-5)


def test_one_channel_becomes_several(monai_weights: dict[str, Tensor], save) -> None:
    path = save(monai_weights)
    single, _ = import_monai_weights(path)
    network, report = import_monai_weights(path, in_channels=4)
    assert set(report.adapted) == {
        "encoder.patch_embedding.projection.weight",
        "input_block.conv1.weight",
        "input_block.shortcut.weight",
    }
    assert all("divided by 4" in how for how in report.adapted.values())
    assert "divided by 4" in str(report)
    image = torch.randn(1, 1, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(network(image.expand(-1, 4, -1, -1, -1)), single(image), rtol=1e-3, atol=1e-3)


def test_a_head_for_other_classes_stays_fresh_and_is_reported(monai_weights: dict[str, Tensor], save) -> None:
    config = NetworkConfig(feature_size=12, num_classes=5, merging="mergingv2")
    network, report = import_monai_weights(save(monai_weights), config)
    assert network.config == replace(config, merging="legacy")
    assert report.unfit == {
        "head.weight": "3x12x1x1x1 in the source, 5x12x1x1x1 in the network",
        "head.bias": "3 in the source, 5 in the network",
    }
    assert not report.missing
    assert network.head.bias.shape == (5,)


def test_nothing_is_passed_over_in_silence(monai_weights: dict[str, Tensor], save) -> None:
    weights = dict(monai_weights) | {"module.extra.weight": torch.zeros(2), "note": "text"}
    del weights["decoder1.transp_conv.conv.weight"]
    _, report = import_monai_weights(save({"state_dict": weights, "scheduler": {}, "epoch": 3}))
    assert report.unexpected == ("module.extra.weight",)
    assert report.missing == ("decoder.4.upsample.weight",)
    assert set(report.beside) == {"scheduler", "epoch", "note"}
    text = report.summary()
    for word in ("module.extra.weight", "decoder.4.upsample.weight", "scheduler", "note", "merging: legacy"):
        assert word in text
    fields = report.to_dict()
    accounted = {*fields["loaded"], *fields["adapted"], *fields["missing"], *fields["unfit"]}
    assert accounted == set(build_network(NetworkConfig(feature_size=12, num_classes=3)).state_dict())
    assert len(fields["loaded"]) + len(fields["unexpected"]) + len(fields["verified"]) == len(weights) - 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"feature_size": 24}, ("of another shape", "in the network")),
        ({"use_v2": True}, ("8 tensors missing", "stages.0.residual")),
        ({"depths": (2, 2, 4, 2)}, ("missing", "stages.2.blocks.2")),
        ({"depths": (2, 2, 1, 2)}, ("more than the network has", "layers3")),
        ({"depths": (2, 2), "num_heads": (3, 6)}, ("4 stages", "the network 2")),
        ({"num_heads": (3, 6, 6, 24)}, ("of another shape", "bias_table")),
        ({"window_size": (5, 5, 5)}, ("position_index", "window_size")),
        ({"in_channels": 1, "patch_size": (2, 2, 1)}, ("patch_embedding", "2x2x1")),
    ],
)
def test_an_encoder_that_does_not_match_is_refused(fields, words, monai_weights, save) -> None:
    config = NetworkConfig(**{"feature_size": 12, "num_classes": 3, **fields})
    with pytest.raises(CheckpointError) as error:
        import_monai_weights(save(monai_weights), config)
    message = str(error.value)
    assert "published.pt" in message
    assert "\n" not in message
    assert all(word in message for word in words), message


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("plain", [False, True])
def test_a_pickle_that_would_run_code_is_refused(plain: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "it ran"
    content = {"state_dict": RunsCode(marker)}
    if plain:
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"would run code when read .*system") as error:
        import_monai_weights(path)
    assert "\n" not in str(error.value)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"text, not weights", b"PK\x03\x04", b"\x80\x02}q"])
@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_damaged_files_are_refused_in_one_line(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name) as error:
        import_monai_weights(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused(monai_weights: dict[str, Tensor], save) -> None:
    path = save(monai_weights)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"published\.pt"):
        import_monai_weights(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"state_dict": {}}, {"state_dict": {"conv": torch.ones(2)}}])
def test_files_without_a_swin_encoder(content: Any, save) -> None:
    with pytest.raises(CheckpointError, match="holds no"):
        import_monai_weights(save(content))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        import_monai_weights(tmp_path / "nothing.pt")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"depths": (1, 1, 1), "num_heads": (3, 6, 12)}, "depths"),
        ({"patch_size": (2, 2, 1)}, "patch_size"),
        ({"merge_strides": ((2, 2, 2), (2, 2, 2), (2, 2, 1), (2, 2, 2))}, "merge_strides"),
        ({"feature_size": 18}, "feature_size"),
        ({"merging": "legacy"}, "MONAI 1.4"),
    ],
)
def test_what_monai_cannot_express_is_not_exported(fields: dict[str, Any], word: str) -> None:
    network = build_network(NetworkConfig(**{"feature_size": 12, "depths": (1, 1, 1, 1), **fields}))
    with pytest.raises(CheckpointError, match=word) as error:
        export_monai_weights(network)
    assert "\n" not in str(error.value)


def test_the_later_merging_is_not_exported_to_monai_1_4() -> None:
    network = build_network(NetworkConfig(feature_size=12, depths=(1, 1, 1, 1), merging="merging"))
    with pytest.raises(CheckpointError, match=r"1\.5 or later"):
        export_monai_weights(network, monai_1_4=True)
