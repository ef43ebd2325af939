import pytest
import torch
from torch.nn import functional as F

from swin_unetr.config import NetworkConfig
from swin_unetr.inference.backends import folding
from swin_unetr.inference.backends.folding import FoldedUpBlock, difference, fold_kernels, fold_upsampling
from swin_unetr.networks import build_network


@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 3), (2, 1, 4)])
@pytest.mark.parametrize("size", [1, 3])
def test_one_transposed_convolution_equals_the_two(stride, size) -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 3, 4, 2, 1, dtype=torch.float64, generator=generator)
    up = torch.randn(3, 5, *stride, dtype=torch.float64, generator=generator)
    after = torch.randn(4, 5, size, size, size, dtype=torch.float64, generator=generator)
    padding = (size - 1) // 2
    expected = F.conv3d(F.conv_transpose3d(coarse, up, stride=stride), after, padding=padding)
    found = F.conv_transpose3d(coarse, fold_kernels(up, after), stride=stride, padding=padding)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


CONFIGS = [
    NetworkConfig(feature_size=6, depths=(1, 1), num_heads=(3, 3)),
    NetworkConfig(
        feature_size=6, depths=(1, 1), num_heads=(3, 3), patch_size=(2, 2, 1), merge_strides=((2, 2, 1),) * 2
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_folded_network_computes_the_same(config) -> None:
    torch.manual_seed(0)
    network = build_network(config).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_upsampling(network)
    assert all(isinstance(block, FoldedUpBlock) for block in folded.decoder)
    assert difference(folded, network) < 1e-5
    image = torch.randn(1, 1, *(3 * extent for extent in config.size_divisor))
    with torch.no_grad():
        assert torch.allclose(folded(image), network(image), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_that_folding_changes_is_left_as_it_is(monkeypatch) -> None:
    network = build_network(CONFIGS[0]).eval()
    monkeypatch.setattr(folding, "fold_kernels", lambda up, after: 1.001 * fold_kernels(up, after))
    assert fold_upsampling(network) is network
