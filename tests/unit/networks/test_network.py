"""The whole network: shapes, refusals, recomputation, randomness, compilation."""

from dataclasses import replace

import pytest
import torch

from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinUNETR, build_network

SMALL = NetworkConfig(
    in_channels=2, num_classes=3, feature_size=12, depths=(2, 2), num_heads=(2, 4), window_size=(4, 4, 4)
)


@pytest.mark.parametrize("stages", [2, 3, 4, 5])
def test_two_to_five_stages(stages: int) -> None:
    config = replace(SMALL, feature_size=4, depths=(1,) * stages, num_heads=(2,) * stages)
    size = (2 ** (stages + 1), 2 ** (stages + 1), 2 ** (stages + 1))
    network = build_network(config)
    image = torch.randn(1, 2, *size)
    logits = network(image)
    assert logits.shape == (1, 3, *size)
    torch.testing.assert_close(network.head(network.forward_features(image)), logits, rtol=1e-4, atol=1e-5)
    assert [tuple(hidden.shape) for hidden in network.encoder(image)] == [
        (1, 4 * 2**level, *(extent // 2 ** (level + 1) for extent in size)) for level in range(stages + 1)
    ]
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("patch", "strides", "size"),
    [
        ((2, 2, 1), ((2, 2, 1), (2, 2, 2)), (16, 24, 6)),  # thick slices
        ((1, 1, 1), ((2, 2, 2), (2, 2, 2)), (12, 8, 4)),  # small volumes
        ((2, 2, 2), ((3, 1, 2), (1, 1, 1)), (36, 50, 36)),  # a hippocampus of 35x50x36 needs one plane of padding
    ],
)
def test_anisotropic_patches_and_strides(patch, strides, size) -> None:
    config = replace(SMALL, patch_size=patch, merge_strides=strides, merging="mergingv2")
    network = build_network(config)
    assert all(extent % step == 0 for extent, step in zip(size, config.size_divisor, strict=True))
    image = torch.randn(2, 2, *size)
    assert network(image).shape == (2, 3, *size)
    expected = [extent // step for extent, step in zip(size, patch, strict=True)]
    for hidden, stride in zip(network.encoder(image), (*strides, None), strict=True):
        assert list(hidden.shape[2:]) == expected
        expected = [extent // step for extent, step in zip(expected, stride or (1, 1, 1), strict=True)]


def test_a_bottleneck_of_one_voxel_works_in_training() -> None:
    network = build_network(SMALL).train()
    logits = network(torch.randn(1, 2, 8, 8, 8))
    logits.square().mean().backward()
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 2, 16, 16, 12), ("(16, 16, 12)", "multiple of (8, 8, 8)")),
        ((1, 1, 16, 16, 16), ("2 channels",)),
        ((2, 16, 16, 16), ("batch x 2 channels",)),
        ((1, 2, 16, 16, 0), ("multiple of (8, 8, 8)",)),
    ],
)
def test_unsuitable_input_is_refused_in_one_line(shape: tuple[int, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="input of") as error:
        build_network(SMALL)(torch.zeros(shape))
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_recomputation_changes_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        network = build_network(replace(SMALL, gradient_checkpointing=recompute, drop_rate=0.1, drop_path_rate=0.2))
        torch.manual_seed(1)
        image = torch.randn(2, 2, 16, 16, 24)
        network(image).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain, rtol=1e-5, atol=1e-7)


def test_dropout_is_reproducible_and_absent_in_evaluation() -> None:
    network = build_network(replace(SMALL, drop_rate=0.2, attn_drop_rate=0.2, drop_path_rate=0.2))
    image = torch.randn(1, 2, 16, 16, 16)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(network(image))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    network.eval()
    assert torch.equal(network(image), network(image))


def test_gradients_reach_every_parameter_under_autocast() -> None:
    network = build_network(SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.randn(1, 2, 16, 16, 16))
    logits.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_published_base_network_has_its_published_size() -> None:
    with torch.device("meta"):
        network = SwinUNETR(NetworkConfig(in_channels=1, num_classes=14))
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(62.19e6, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_compiles_without_graph_breaks(training: bool) -> None:
    network = build_network(replace(SMALL, depths=(2, 1))).train(training)
    image = torch.randn(1, 2, 16, 16, 24)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(compiled(image), network(image))
