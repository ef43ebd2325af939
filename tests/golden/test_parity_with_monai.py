"""With the same weights our network is MONAI's: outputs and gradients of all parameters.

Not the whole cross product, which takes an hour, but every pair of feature size, channels, form of merging, V2 and
size of input in at least one precision. The error of a tensor is |ours - theirs| / |theirs| in the Euclidean norm; a
tensor that is zero in both has none. Float64 goes by the fast paths. Float32 gradients can be held to 1e-4 only where
both networks run the same convolutions on the same memory layouts, so without them: a leaky ReLU whose input is near
zero otherwise turns a rounding error of 1e-7 into a step of its derivative, and 1e-3 in the gradients behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from monai.networks.nets.swin_unetr import PatchMergingV2
from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR
from torch import Tensor

from swin_unetr.checkpoints import export_monai_weights
from swin_unetr.config import NetworkConfig, SpeedConfig
from swin_unetr.networks import SwinUNETR, build_network, choose_fast_paths

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


class MergingOfMonai14(PatchMergingV2):  # type: ignore[misc]  # MONAI is untyped
    """Patch merging as MONAI had it up to 1.4: 010 and 001 twice, 110 and 011 never."""

    def forward(self, x: Tensor) -> Tensor:
        slices = (
            x[:, 0::2, 0::2, 0::2],
            x[:, 1::2, 0::2, 0::2],
            x[:, 0::2, 1::2, 0::2],
            x[:, 0::2, 0::2, 1::2],
            x[:, 1::2, 0::2, 1::2],
            x[:, 0::2, 1::2, 0::2],
            x[:, 0::2, 0::2, 1::2],
            x[:, 1::2, 1::2, 1::2],
        )
        return self.reduction(self.norm(torch.cat(slices, dim=-1)))


@dataclass(frozen=True)
class Case:
    """A configuration, an input and a precision to compare in."""

    feature_size: int
    in_channels: int
    merging: str
    use_v2: bool
    size: tuple[int, int, int]
    dtype: torch.dtype

    def __str__(self) -> str:
        version = "v2" if self.use_v2 else "v1"
        size = "x".join(map(str, self.size))
        precision = str(self.dtype).removeprefix("torch.")
        return f"{self.feature_size}-{self.in_channels}ch-{self.merging}-{version}-{size}-{precision}"

    def config(self) -> NetworkConfig:
        return NetworkConfig(
            in_channels=self.in_channels,
            num_classes=3,
            feature_size=self.feature_size,
            merging=self.merging,
            use_v2=self.use_v2,
        )

    def networks(self) -> tuple[SwinUNETR, MonaiSwinUNETR]:
        """Ours and MONAI's with the same weights, none of them at a special value such as a bias of 0."""
        torch.manual_seed(0)
        config = self.config()
        ours = build_network(config)
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
        legacy = config.merging == "legacy"
        theirs = MonaiSwinUNETR(
            in_channels=config.in_channels,
            out_channels=config.num_classes,
            feature_size=config.feature_size,
            use_v2=config.use_v2,
            patch_norm=config.patch_norm,
            downsample=MergingOfMonai14 if legacy else config.merging,
        )
        theirs.load_state_dict(export_monai_weights(ours, monai_1_4=legacy), strict=True)
        return ours.to(self.dtype), theirs.to(self.dtype)

    def image(self, batch: int = 1) -> Tensor:
        return torch.randn(batch, self.in_channels, *self.size, dtype=self.dtype)


F32, F64 = torch.float32, torch.float64
CUBE32, CUBE64, CUBE96, FLAT = (32, 32, 32), (64, 64, 64), (96, 96, 96), (64, 96, 32)
WITH_GRADIENTS = [
    Case(12, 4, "merging", True, CUBE32, F64),
    Case(24, 1, "mergingv2", False, CUBE32, F32),
    Case(24, 1, "merging", True, CUBE32, F64),
    Case(48, 4, "mergingv2", False, CUBE32, F64),
    Case(48, 1, "merging", True, CUBE32, F32),
    Case(12, 1, "mergingv2", False, FLAT, F64),
    Case(24, 4, "merging", True, FLAT, F32),
    Case(12, 4, "mergingv2", True, CUBE64, F64),
    Case(24, 1, "merging", False, CUBE64, F32),
    Case(12, 1, "merging", True, CUBE96, F32),
    Case(12, 1, "legacy", False, FLAT, F64),
    Case(24, 4, "legacy", True, CUBE32, F64),
]
FORWARD_ONLY = [
    Case(12, 4, "mergingv2", False, CUBE96, F64),
    Case(24, 4, "merging", False, CUBE96, F32),
    Case(48, 1, "mergingv2", False, CUBE96, F32),
    Case(48, 4, "merging", True, CUBE64, F32),
    Case(48, 1, "mergingv2", False, FLAT, F32),
    Case(24, 4, "legacy", False, CUBE64, F32),
]


@pytest.fixture(autouse=True)
def _one_voxel_at_the_bottleneck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch refuses to normalise a single voxel, so MONAI stops at 32x32x32; what it would compute is well defined."""
    monkeypatch.setattr(torch.nn.functional, "_verify_spatial_size", lambda size: None)


@pytest.mark.parametrize("case", WITH_GRADIENTS, ids=str)
def test_outputs_and_gradients_are_monai_s(case: Case) -> None:
    ours, theirs = case.networks()
    choose_fast_paths(ours, SpeedConfig(fast=case.dtype == F64))
    image = case.image()
    output, wanted = ours(image), theirs(image)
    assert relative_error(output, wanted) <= TOLERANCE[case.dtype]
    weights = torch.randn_like(output)
    (output * weights).sum().backward()
    (wanted * weights).sum().backward()
    errors = gradient_errors(ours, theirs, legacy=case.merging == "legacy")
    worst = max(errors, key=lambda name: errors[name])
    assert errors[worst] <= TOLERANCE[case.dtype], worst


@pytest.mark.parametrize("case", FORWARD_ONLY, ids=str)
def test_outputs_of_the_fused_attention_are_monai_s(case: Case) -> None:
    ours, theirs = case.networks()
    image = case.image()
    with torch.no_grad():
        assert relative_error(ours.eval()(image), theirs.eval()(image)) <= TOLERANCE[case.dtype]


def test_a_batch_is_treated_as_monai_does() -> None:
    case = Case(12, 2, "merging", False, FLAT, F64)
    ours, theirs = case.networks()
    images = case.image(batch=2)
    wanted = theirs(images)
    assert relative_error(ours(images), wanted) <= 1e-9
    with torch.no_grad():
        assert relative_error(ours(images), wanted) <= 1e-9


def test_the_encoder_s_maps_are_monai_s() -> None:
    case = Case(12, 1, "mergingv2", False, FLAT, F64)
    ours, theirs = case.networks()
    image = case.image()
    wanted = theirs.swinViT(image, normalize=True)
    assert len(wanted) == 5
    for hidden, other in zip(ours.encoder(image), wanted, strict=True):
        assert relative_error(hidden, other) <= 1e-9


def test_the_forms_of_merging_are_different_functions() -> None:
    case = Case(12, 1, "legacy", False, CUBE64, F32)
    ours, theirs = case.networks()
    image = case.image()
    with torch.no_grad():
        wanted = theirs(image)
        for form in ("merging", "mergingv2"):
            other = build_network(replace(case.config(), merging=form))
            other.load_state_dict(ours.state_dict())
            assert relative_error(other(image), wanted) > 1e-2


def relative_error(found: Tensor, wanted: Tensor) -> float:
    difference = (found - wanted).norm()
    return 0.0 if difference == 0 else float(difference / wanted.norm())


def gradient_errors(ours: SwinUNETR, theirs: MonaiSwinUNETR, *, legacy: bool) -> Mapping[str, float]:
    """Error of the gradient of every parameter, by MONAI's names."""
    names = export_monai_weights(ours, monai_1_4=legacy)  # parameters in their order, then MONAI's position indices
    found = {name: parameter.grad for name, parameter in zip(names, ours.parameters(), strict=False)}
    return {name: relative_error(found[name], parameter.grad) for name, parameter in theirs.named_parameters()}
