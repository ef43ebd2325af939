"""The convolutional blocks on maps so small that kernels for the CPU get them wrong."""

import pytest
import torch

from swin_unetr.networks.conv_decoder import ResidualBlock


@pytest.mark.parametrize("size", [(2, 2, 2), (2, 4, 4), (2, 2, 1), (4, 4, 4)])
def test_gradients_under_bfloat16_are_those_of_float32_whatever_memory_held_before(size) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(64, 64)
    image, weight = torch.randn(2, 64, *size), torch.randn(2, 64, *size)
    (block(image) * weight).sum().backward()
    exact = {name: parameter.grad.clone() for name, parameter in block.named_parameters()}
    for _ in range(8):
        block.zero_grad()
        _poison_free_memory()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (block(image).float() * weight).sum()
        loss.backward()
        for name, parameter in block.named_parameters():
            error = (parameter.grad - exact[name]).norm() / exact[name].norm()
            assert error < 0.05, (name, float(error))  # NaN fails too


def _poison_free_memory() -> None:
    """Leave NaN where the next tensors of this size are likely to be put."""
    for _ in range(4):
        torch.full((64 * 64 * 27,), float("nan"), dtype=torch.bfloat16)
