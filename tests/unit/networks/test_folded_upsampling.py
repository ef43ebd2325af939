"""Folding the upsampling of the decoder changes neither the result nor a gradient, and is taken where it pays."""

import pytest
import torch

from swin_unetr.config import Triple
from swin_unetr.networks.conv_decoder import UpBlock
from swin_unetr.networks.folded_upsampling import convolve_joined, pays


@pytest.mark.parametrize("layout", ["auto", "contiguous", "unchanged"])
def test_results_and_gradients_are_the_same(layout) -> None:
    torch.manual_seed(0)
    block = UpBlock(3, 2, (2, 2, 2)).double()
    block.block.layout = layout
    coarse = torch.randn(2, 3, 8, 5, 9, dtype=torch.float64, requires_grad=True)
    skip = torch.randn(2, 2, 16, 10, 18, dtype=torch.float64, requires_grad=True)
    assert pays(block.upsample, skip)
    weights = torch.randn(2, 2, 16, 10, 18, dtype=torch.float64)
    found = []
    for fold in (True, False):
        block.fold = fold
        output = block(coarse, skip)
        inputs = [coarse, skip, *block.parameters()]
        found.append([output, *torch.autograd.grad((output * weights).sum(), inputs)])
    for folded, plain in zip(*found, strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-9, atol=1e-10)


def test_kernels_are_rounded_once_under_autocast() -> None:
    torch.manual_seed(0)
    block = UpBlock(8, 8, (2, 2, 2))
    coarse, skip = torch.randn(1, 8, 8, 8, 8), torch.randn(1, 8, 16, 16, 16)
    layers = (block.upsample, block.block.conv1, block.block.shortcut)
    exact = convolve_joined(*layers, coarse, skip)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = convolve_joined(*layers, coarse, skip)
    for low, high in zip(rounded, exact, strict=True):
        assert low.dtype == torch.bfloat16
        assert (low - high).norm() < 5e-3 * high.norm()


@pytest.mark.parametrize(
    ("stride", "size", "wanted"), [((2, 2, 2), 32, True), ((2, 2, 2), 8, False), ((2, 2, 1), 32, False)]
)
def test_it_is_taken_where_it_can_be_and_pays(stride: Triple, size: int, wanted: bool) -> None:
    assert pays(UpBlock(16, 8, stride).upsample, torch.empty(1, 8, size, size, size)) is wanted
