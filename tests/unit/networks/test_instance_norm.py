"""Instance norm in both memory layouts, against its definition in float64."""

import pytest
import torch
from torch import Tensor

from swin_unetr.networks.instance_norm import EPS, instance_norm

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}


def by_definition(features: Tensor) -> Tensor:
    axes = (2, 3, 4)
    variance = features.var(axes, keepdim=True, correction=0)
    return (features - features.mean(axes, keepdim=True)) / (variance + EPS).sqrt()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_equal_to_the_definition(layout: str, batch: int) -> None:
    torch.manual_seed(0)
    # Means far from 0 and a hundred times the deviation: where a difference of squares would lose the variance.
    features = torch.randn(batch, 5, 12, 10, 9) + 100 * torch.randn(batch, 5, 1, 1, 1)
    features = features.contiguous(memory_format=LAYOUTS[layout]).requires_grad_()
    normalised = instance_norm(features)
    exact = features.detach().double().requires_grad_()
    torch.testing.assert_close(normalised.double(), by_definition(exact), rtol=0, atol=1e-4)
    gradient = torch.randn(features.shape)
    (found,) = torch.autograd.grad(normalised, features, gradient)
    (wanted,) = torch.autograd.grad(by_definition(exact), exact, gradient.double())
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)


def test_a_single_voxel_is_normalised_to_zero() -> None:
    features = torch.randn(2, 3, 1, 1, 1)
    assert instance_norm(features).abs().max() < 1e-4
