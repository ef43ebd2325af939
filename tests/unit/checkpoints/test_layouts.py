"""Every layout of published weights: files with the names, shapes and classes that the publications' files have."""

import argparse
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR
from torch import Tensor
from torch.nn import functional as F

from swin_unetr.checkpoints import export_monai_weights, import_monai_weights, start_from
from swin_unetr.checkpoints.layouts import LAYOUTS
from swin_unetr.checkpoints.model_folder import read_description
from swin_unetr.checkpoints.starting_point import starting_point
from swin_unetr.cli import main
from swin_unetr.config import NetworkConfig
from swin_unetr.errors import CheckpointError
from swin_unetr.networks import build_network
from tests.support.smit import Smit

Weights = Mapping[str, Tensor]
#: What `DistributedDataParallel` puts before a name.
DDP = "module."
UNIVERSAL_HEADS = (
    "precls_conv.0.weight",
    "GAP.0.weight",
    "controller.weight",
    "organ_embedding",
    "text_to_vision.bias",
)
SSL_HEADS = ("norm.weight", "rotation_head.weight", "contrastive_head.weight", "convTrans3d.weight")


def encoder_of(weights: Weights) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key.startswith("swinViT.")}


def heads(*names: str) -> dict[str, Tensor]:
    return {name: torch.ones(2) for name in names}


def named(weights: Weights, prefix: str, *, without: str = "") -> dict[str, Tensor]:
    return {prefix + key.removeprefix(without): value for key, value in weights.items()}


def with_fc(weights: Weights) -> dict[str, Tensor]:
    return {key.replace("mlp.linear", "mlp.fc"): value for key, value in weights.items()}


def tang(weights: Weights) -> Any:
    state = with_fc(named(encoder_of(weights), DDP, without="swinViT.")) | named(heads(*SSL_HEADS), DDP)
    return {"epoch": 12, "state_dict": OrderedDict(state), "args": argparse.Namespace(lr=4e-4, roi_x=96)}


def dae(weights: Weights) -> Any:
    state = {key.replace(".0.", ".0.0.", 1): value for key, value in encoder_of(weights).items() if ".layers" in key}
    state |= {key: value for key, value in encoder_of(weights).items() if ".layers" not in key}
    state = named(state, "encoder.", without="swinViT.")
    state |= heads("encoder.mask_token", "encoder.norm.weight", "decoder.conv.weight")
    return {"model": state, "max_accuracy": np.float64(0.1), "scaler": {}, "epoch": 3}


def suprem(weights: Weights) -> Any:
    state = named(weights, f"{DDP}backbone.") | named(heads(*UNIVERSAL_HEADS), DDP)
    return {
        "net": state,
        "optimizer": {"state": {}, "param_groups": []},
        "scheduler": {"last_epoch": 800},
        "epoch": 800,
    }


def brainsegfounder(weights: Weights) -> Any:
    state = named(encoder_of(weights) | heads("rotation_head.weight", "contrastive_head.bias", "conv.0.weight"), DDP)
    return {"global_step": 9, "state_dict": state, "optimizer": {}}


def voco_run(weights: Weights) -> Any:
    """A run of VoCo's script: the teacher is the average; here its weights are twice the student's."""
    swin = {key: value for key, value in weights.items() if not key.startswith(("decoder", "out"))}
    swin |= heads("proj_head.layer1.0.weight")
    teacher = {key: 2 * value if value.is_floating_point() else value for key, value in swin.items()}
    return {"epoch": 1, "state_dict": named(swin, f"{DDP}student.") | named(teacher, f"{DDP}teacher.")}


def voco_backbone(weights: Weights) -> Any:
    """An older run of it: one network, and projections of a student and a teacher beside it."""
    state = named(weights, f"{DDP}backbone.") | heads(
        "module.student.layer1.0.weight", "module.teacher.layer1.0.weight"
    )
    return {"state_dict": state}


def in_pairs(weights: Weights) -> Any:
    twice = {key: 2 * value if value.is_floating_point() else value for key, value in weights.items()}
    return {"student": {"state_dict": dict(weights)}, "teacher": twice, "optimizer": {}, "epoch": 4}


def network_weights(weights: Weights) -> Any:
    return {"network_weights": dict(weights), "optimizer_state": None, "init_args": {"plans": "p"}, "best": 0.7}


#: Name of the form: what is written, the layout that is recognised, keys that are left, and how often larger the
#: weights are that are taken.
FORMS: dict[str, tuple[Callable[[Weights], Any], str | None, int, int]] = {
    "tang": (tang, "tang", 4, 1),
    "dae": (dae, "dae", 3, 1),
    "suprem": (suprem, "suprem", 5, 1),
    "brainsegfounder": (brainsegfounder, None, 3, 1),
    "voco run": (voco_run, "voco", -1, 2),
    "voco backbone": (voco_backbone, None, 2, 1),
    "student and teacher": (in_pairs, None, -1, 2),
    "network_weights": (network_weights, None, 0, 1),
    "plain": (dict, None, 0, 1),
}


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        torch.save(content, tmp_path / "published.pt")
        return tmp_path / "published.pt"

    return write


@pytest.mark.parametrize("form", FORMS)
def test_every_tensor_of_every_layout_is_accounted_for(form: str, monai_weights: dict[str, Tensor], save) -> None:
    write, layout, left, times = FORMS[form]
    network, report = import_monai_weights(save(write(monai_weights)))
    encoder = {name for name in network.state_dict() if name.startswith("encoder.")}
    assert encoder <= set(report.loaded)
    assert not any((report.adapted, report.unfit))
    assert report.layout == layout
    assert left in (-1, len(report.unexpected))
    exported = export_monai_weights(network, monai_1_4=True)
    for name, value in encoder_of(monai_weights).items():
        assert torch.equal(exported[name], times * value if value.is_floating_point() else value), name


def test_the_side_can_be_chosen_and_is_said(monai_weights: dict[str, Tensor], save) -> None:
    name = "swinViT.patch_embed.proj.weight"
    for write in (voco_run, in_pairs):
        path = save(write(monai_weights))
        _, report = import_monai_weights(path)
        assert "note: weights of the teacher; --side student takes the student" in str(report)
        assert all("student" in key for key in report.unexpected if "proj_head" not in key)
        network, report = import_monai_weights(path, side="student")
        assert torch.equal(export_monai_weights(network, monai_1_4=True)[name], monai_weights[name])
        assert report.notes == ("weights of the student; --side teacher takes the teacher",)
    with pytest.raises(CheckpointError, match="holds no encoder of a student, but one network") as error:
        import_monai_weights(save(monai_weights), side="student")
    assert "\n" not in str(error.value)


def test_smit_is_read_with_its_own_shape(save) -> None:
    path = save({"student": named(Smit().state_dict(), "module.backbone."), "epoch": 500})
    network, report = import_monai_weights(path)
    assert network.config == NetworkConfig(
        feature_size=12,
        depths=(2, 2, 4, 2),
        num_heads=(4, 4, 4, 4),
        window_size=(4, 4, 4),
        merging="merging",
        qkv_bias=False,
        patch_norm=True,
    )
    assert len(report.adapted) == 4 * 3
    assert {key.rpartition("backbone.")[2] for key in report.unexpected} == {
        "mask_token",
        *(f"norm{stage}.{part}" for stage in range(4) for part in ("weight", "bias")),
    }


@pytest.mark.slow
def test_smit_computes_what_its_own_network_does(save) -> None:
    """With the published crop: where a window holds the whole map, SMIT still shifts it, and a Swin UNETR does not."""
    torch.manual_seed(1)
    smit = Smit(depths=(1, 2, 1, 2)).eval()
    network, _ = import_monai_weights(save(smit.state_dict()))
    image = torch.randn(1, 1, 96, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(network.encoder.double().eval()(image), smit.double()(image), strict=True):
            expected = F.layer_norm(theirs, theirs.shape[-1:])
            torch.testing.assert_close(ours[0].permute(1, 2, 3, 0), expected, rtol=1e-6, atol=1e-6)


def test_smit_has_one_form_of_merging_and_no_decoder_of_ours(save) -> None:
    state = named(Smit(depths=(1, 1, 1, 1)).state_dict(), "transformer.") | heads("encoder1.layer.conv1.conv.weight")
    path = save({"state_dict": state})
    with pytest.raises(CheckpointError, match="eight distinct neighbours; leave out --merging legacy"):
        import_monai_weights(path, merging="legacy")
    network, report = import_monai_weights(path)
    assert "encoder1.layer.conv1.conv.weight" in report.unexpected
    assert start_from(build_network(network.config), path).adapted == report.adapted


@pytest.mark.slow
def test_voco_with_residual_convolutions_computes_the_same(save) -> None:
    """SwinUNETR-V2 without a decoder, as VoCo's: the same encoder as MONAI's."""
    torch.manual_seed(0)
    theirs = MonaiSwinUNETR(in_channels=1, out_channels=4, feature_size=12, use_v2=True).eval()
    network, report = import_monai_weights(save(theirs.state_dict()), merging="merging")
    assert network.config.use_v2
    assert not report.missing
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        for ours, other in zip(network.encoder.eval()(image), theirs.swinViT(image), strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 1), (2, 1), (3, 2)])
def test_other_numbers_of_channels_respond_alike_to_equal_channels(before: int, after: int, save) -> None:
    torch.manual_seed(0)
    theirs = MonaiSwinUNETR(in_channels=before, out_channels=2, feature_size=12, depths=(1, 1, 1, 1))
    path = save(brainsegfounder(theirs.state_dict()))
    first, _ = import_monai_weights(path)
    second, report = import_monai_weights(path, in_channels=after)
    assert list(report.adapted) == ["encoder.patch_embedding.projection.weight"]
    assert f"the mean of the weights of {before} channels" in str(report)
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        one = first.encoder(image.expand(-1, before, -1, -1, -1))
        other = second.encoder(image.expand(-1, after, -1, -1, -1))
    for expected, found in zip(one, other, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_weights_that_were_trained_on_labels_of_btcv_are_named(save) -> None:
    theirs = MonaiSwinUNETR(in_channels=1, out_channels=14, feature_size=12, depths=(1, 1, 1, 1))
    _, report = import_monai_weights(save({"state_dict": theirs.state_dict()}))
    assert "14 classes, as BTCV has" in str(report)
    _, report = import_monai_weights(save(tang(theirs.state_dict())))
    assert "BTCV" not in str(report)


@pytest.mark.parametrize(
    ("write", "options", "window", "spacing"),
    [
        (tang, (), (-1000, 1000), None),
        (dae, (), (-1000, 1000), None),
        (suprem, (), (-175, 250), (1.5, 1.5, 1.5)),
        (voco_run, ("--source", "voco"), (-175, 250), (1.5, 1.5, 1.5)),
        (dict, ("--source", "voco"), (-175, 250), (1.5, 1.5, 1.5)),
    ],
)
def test_the_intensities_of_the_weights_are_in_the_model_folder(
    write, options, window, spacing, monai_weights: dict[str, Tensor], save, tmp_path: Path, capsys
) -> None:
    path, folder = save(write(monai_weights)), tmp_path / "encoder"
    assert main(["import-weights", str(path), "--output", str(folder), *options]) == 0
    assert "preprocessing: as published for" in capsys.readouterr().out
    preprocess = starting_point(folder).preprocess
    assert preprocess is not None
    assert (preprocess.intensity.scheme, preprocess.intensity.window) == ("hu_window", window)
    assert preprocess.spacing_mm == spacing


def test_an_unknown_source_is_not_guessed_and_a_wrong_one_refused(
    monai_weights: dict[str, Tensor], save, tmp_path: Path, capsys
) -> None:
    folder = tmp_path / "encoder"
    for write in (voco_run, brainsegfounder):
        assert main(["import-weights", str(save(write(monai_weights))), "--output", str(folder)]) == 0
        assert "preprocessing: not known; name where the weights are from: --source" in capsys.readouterr().out
        assert not read_description(folder).preprocess_known
        assert starting_point(folder).preprocess is None
    other = tmp_path / "other"
    arguments = ["import-weights", str(save(suprem(monai_weights))), "--output", str(other), "--source", "tang"]
    assert main(arguments) == 2
    assert "are those of suprem; leave out --source" in capsys.readouterr().err
    assert not other.exists()


def test_no_two_layouts_claim_the_same_file(monai_weights: dict[str, Tensor]) -> None:
    for write, expected, *_ in FORMS.values():
        content = write(monai_weights)
        names = next((content[key] for key in ("state_dict", "model", "net") if key in content), content)
        assert [name for name, of in LAYOUTS.items() if of.matches(names)] == ([expected] if expected else [])
