"""The baselines are the networks of others, weight for weight, and refuse what is not for them."""

from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from monai.networks.nets import DynUNet, SegResNet

from finetune.config import FinetuneConfig
from pretrain.config import PretrainConfig
from swin_unetr.baseline_config import Architecture, BaselinesConfig
from swin_unetr.checkpoints import export_monai_weights, load_model, save_model, start_from
from swin_unetr.config import NetworkConfig, SpeedConfig
from swin_unetr.config_io import from_dict, to_dict
from swin_unetr.errors import CheckpointError, ConfigError
from swin_unetr.inference.engine.sliding_window import check_roi_size
from swin_unetr.model_description import ModelDescription
from swin_unetr.networks import BaselineNetwork, SwinUNETR, build_network, choose_fast_paths
from swin_unetr.tasks import Task, exclusive

SMALL = {
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "dynunet": {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 1]], "filters": [4, 8, 16]},
}
SIZE = {"segresnet": (4, 6, 8), "dynunet": (8, 12, 6)}
TASK = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("liver", "spleen")))


def config(name: str) -> NetworkConfig:
    values = {"num_classes": 3, "architecture": name, "baselines": {name: SMALL[name]}}
    return from_dict(NetworkConfig, values, source="test")


def of_monai(name: str) -> torch.nn.Module:
    """MONAI's own class with the arguments that the options mean."""
    if name == "segresnet":
        return SegResNet(3, 8, in_channels=1, out_channels=3, blocks_down=(1, 1), blocks_up=(1,))
    strides = ((1, 1, 1), (2, 2, 2), (2, 2, 1))
    return DynUNet(3, 1, 3, (3, 3, 3), strides, strides[1:], filters=(4, 8, 16))


@pytest.mark.parametrize("name", SMALL)
def test_it_is_the_network_of_monai_with_the_same_weights(name: str) -> None:
    ours, theirs = build_network(config(name)), of_monai(name)
    weights = {key.removeprefix("network."): value for key, value in ours.state_dict().items()}
    found = theirs.load_state_dict(weights, strict=False)
    assert not found.unexpected_keys
    assert not found.missing_keys or name == "dynunet"  # which has a second name for nearly all of its weights
    assert [len(list(each.parameters())) for each in (ours, theirs)] == [len(weights)] * 2
    image = torch.randn(2, 1, *SIZE[name])
    assert torch.equal(ours.eval()(image), theirs.eval()(image))


@pytest.mark.parametrize("name", SMALL)
def test_its_windows_are_multiples_of_its_divisor_and_of_no_less(name: str) -> None:
    network, divisor = build_network(config(name)), config(name).size_divisor
    size = tuple(2 * step for step in divisor)
    assert network(torch.zeros(1, 1, *size)).shape == (1, 3, *size)
    with pytest.raises(ValueError, match="must be a multiple of"):
        network(torch.zeros(1, 1, size[0] + 1, *size[1:]))


@pytest.mark.parametrize("name", SMALL)
def test_the_defaults_build(name: str) -> None:
    with torch.device("meta"):
        network = build_network(NetworkConfig(architecture=name))
    assert sum(value.numel() for value in network.parameters()) > 1_000_000


def test_every_name_has_its_options_and_its_module_and_every_option_a_name() -> None:
    baselines = {field.name for field in fields(BaselinesConfig)}
    assert set(get_args(Architecture)) == {"swin_unetr", *baselines} == {"swin_unetr", *SMALL}
    assert isinstance(build_network(NetworkConfig(feature_size=12)), SwinUNETR)
    assert all(isinstance(build_network(config(name)), BaselineNetwork) for name in baselines)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_folder_gives_it_back(name: str, tmp_path: Path) -> None:
    network = build_network(config(name)).eval()
    save_model(network, tmp_path, description=ModelDescription(kind="segmentation", network=config(name), task=TASK))
    loaded = load_model(tmp_path)
    assert loaded.description.network == config(name)
    image = torch.randn(1, 1, *SIZE[name])
    assert torch.equal(loaded.network.eval()(image), network(image))


def test_a_description_of_before_is_of_a_swin_unetr() -> None:
    values = to_dict(NetworkConfig(feature_size=12))
    del values["architecture"], values["baselines"]
    assert from_dict(NetworkConfig, values, source="old") == NetworkConfig(feature_size=12)


@pytest.mark.parametrize("name", SMALL)
def test_fast_paths_of_ours_are_recorded_as_not_applicable(name: str) -> None:
    network = build_network(config(name))
    found = choose_fast_paths(network, SpeedConfig())
    assert found == {**dict.fromkeys(("attention", "memory_layout", "recompute"), "not applicable"), "compile": "off"}
    for recompute in ("none", ()):
        choose_fast_paths(network, SpeedConfig(recompute=recompute))
    for recompute in ("all", "encoder", ("decoder.0",)):
        with pytest.raises(ConfigError, match="no parts that can be recomputed"):
            choose_fast_paths(network, SpeedConfig(recompute=recompute))


@pytest.mark.parametrize("name", SMALL)
def test_thin_maps_are_float32_under_autocast_on_a_cpu(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(config(name))
    image = torch.randn(1, 1, *(2 * step for step in config(name).size_divisor))
    plain = network(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(image), plain)
        wide = network(torch.randn(1, 1, *(3 * step for step in config(name).size_divisor)))
    assert wide.dtype == torch.bfloat16


@pytest.mark.parametrize("name", SMALL)
def test_weights_of_a_swin_unetr_and_of_a_baseline_do_not_mix(name: str, tmp_path: Path) -> None:
    swin = NetworkConfig(feature_size=6, depths=(1, 1), num_heads=(1, 2), window_size=(2, 2, 2), num_classes=3)
    for folder, network in (("swin", swin), ("baseline", config(name))):
        description = ModelDescription(kind="segmentation", network=network, task=TASK)
        save_model(build_network(network), tmp_path / folder, description=description)
    with pytest.raises(CheckpointError, match="has no Swin encoder; leave out --init"):
        start_from(build_network(config(name)), tmp_path / "swin")
    with pytest.raises(CheckpointError, match=f"holds a {name}, which has no Swin encoder"):
        start_from(build_network(swin), tmp_path / "baseline")
    with pytest.raises(CheckpointError, match="is MONAI's already"):
        export_monai_weights(build_network(config(name)))


@pytest.mark.parametrize(
    ("cls", "fields", "words"),
    [
        (FinetuneConfig, {"network": {"architecture": "unet"}}, "unet"),
        (FinetuneConfig, {"network": {"architecture": "dynunet"}, "deep_supervision": True}, "is trained without"),
        (
            FinetuneConfig,
            {"network": {"architecture": "segresnet"}, "inference": {"roi_size": [96, 96, 90]}},
            r"multiples of \(8, 8, 8\)",
        ),
        (
            FinetuneConfig,
            {"network": {"architecture": "dynunet"}, "sampling": {"crop_size": [32, 32, 32]}},
            r"sampling\.crop_size: .* one voxel",
        ),
        (PretrainConfig, {"network": {"architecture": "segresnet"}}, "needs the Swin encoder"),
        (NetworkConfig, {"baselines": {"segresnet": {"init_filters": 12}}}, "init_filters: must be a multiple of 8"),
        (NetworkConfig, {"baselines": {"segresnet": {"blocks_up": [1]}}}, "one value fewer"),
        (NetworkConfig, {"baselines": {"segresnet": {"dropout": 1.0}}}, "dropout"),
        (NetworkConfig, {"baselines": {"dynunet": {"strides": [[1, 1, 1], [2, 2, 2]]}}}, "at least 3 levels"),
        (NetworkConfig, {"baselines": {"dynunet": {"strides": [[2, 2, 2]] * 3}}}, "the first must be"),
        (NetworkConfig, {"baselines": {"dynunet": {"filters": [8, 16]}}}, "2 values for 6 levels"),
        (NetworkConfig, {"baselines": {"dynunet": {"kernel_sizes": [[2, 2, 2]] * 6}}}, "odd"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(cls, fields, words) -> None:
    with pytest.raises(ConfigError, match=words):
        from_dict(cls, fields, source="recipe")


def test_a_window_of_one_voxel_at_the_coarsest_level_is_refused_where_it_is_normed_alone() -> None:
    for name in SMALL:
        network = config(name)
        if name == "segresnet":
            check_roi_size(network.size_divisor, network)
            continue
        with pytest.raises(ConfigError, match=r"roi_size: .* one voxel"):
            check_roi_size(network.size_divisor, network)
        check_roi_size((8, 4, 2), network)
    with pytest.raises(ValueError, match="architecture: 'unet' is not one of"):
        replace(NetworkConfig(), architecture="unet")  # type: ignore[arg-type]
