"""The fast paths compute the same function, and one flag switches them off."""

import copy

import pytest
import torch

from swin_unetr.config import NetworkConfig, SpeedConfig
from swin_unetr.networks import SwinUNETR, build_network, choose_fast_paths

CONFIG = NetworkConfig(in_channels=1, num_classes=3, feature_size=12, window_size=(6, 6, 6))


def network() -> SwinUNETR:
    torch.manual_seed(0)
    return build_network(CONFIG).double()


def gradients(model: SwinUNETR, image: torch.Tensor) -> dict[str, torch.Tensor]:
    output = model(image)
    torch.manual_seed(1)
    (output * torch.randn(output.shape, dtype=output.dtype)).sum().backward()  # whatever its memory layout
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_the_fast_paths_are_the_same_function(batch: int) -> None:
    image = torch.randn(batch, 1, 64, 32, 32, dtype=torch.float64)
    plain, fast = network(), network()
    assert choose_fast_paths(plain, SpeedConfig(fast=False, compile=True)) == {
        "attention": "explicit",
        "memory_layout": "unchanged",
        "compile": "off",
        "recompute": "none",
    }
    assert choose_fast_paths(fast, SpeedConfig(attention="blockwise")) == {
        "attention": "blockwise",
        "memory_layout": "auto",
        "compile": "off",
        "recompute": "none",
    }
    wanted, found = gradients(plain, image), gradients(fast, image)
    for name, gradient in wanted.items():
        # The weights of a convolution before a norm of one voxel have no gradient but rounding.
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-8, atol=1e-9, msg=lambda text, at=name: f"{at}: {text}"
        )


def test_off_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a fast path was taken")

    monkeypatch.setattr("swin_unetr.networks.window_attention.attend_by_blocks", refuse)
    image = torch.randn(1, 1, 32, 32, 32, dtype=torch.float64)
    model = network()
    choose_fast_paths(model, SpeedConfig(fast=False))
    features = model.forward_features(image)
    assert features.is_contiguous()
    choose_fast_paths(model, SpeedConfig(attention="blockwise"))
    with pytest.raises(AssertionError, match="fast path"):
        model(image)


def test_many_logits_go_by_blocks_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a fast path was taken")

    monkeypatch.setattr("swin_unetr.networks.window_attention.attend_by_blocks", refuse)
    torch.manual_seed(0)
    model = build_network(NetworkConfig(in_channels=1, num_classes=3, feature_size=12))
    with pytest.raises(AssertionError, match="fast path"):
        model(torch.randn(1, 1, 64, 64, 64))


def test_checkpointing_recomputes_the_same() -> None:
    image = torch.randn(1, 1, 32, 32, 32, dtype=torch.float64)
    kept = gradients(network(), image)
    torch.manual_seed(0)
    recomputing = build_network(NetworkConfig(**{**CONFIG.__dict__, "gradient_checkpointing": True})).double()
    for name, gradient in gradients(recomputing, image).items():
        assert torch.equal(gradient, kept[name]), name


def test_compiling_changes_no_names() -> None:
    """What the compiled network computes is checked by scripts/bench/training.py: compiling takes a minute."""
    image = torch.randn(1, 1, 32, 32, 32, dtype=torch.float64)
    plain, compiled = network(), network()
    assert choose_fast_paths(compiled, SpeedConfig(compile=True))["compile"] == "default"
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    with torch.compiler.set_stance("force_eager"):
        assert torch.equal(copy.deepcopy(compiled)(image), plain(image))  # as for the average of the weights
