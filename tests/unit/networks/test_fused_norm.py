"""What lies around the convolutions of a residual block in training on the CPU: by differences, and as written."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from swin_unetr.networks.conv_decoder import ResidualBlock
from swin_unetr.networks.fused_norm import finish, normalise, works_fused
from swin_unetr.networks.in_place import moments

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}
SIZES = [(3, 2, 5), (1, 3, 2), (1, 1, 2), (1, 1, 1)]


def random(*shape: int, layout: str = "channels_last") -> Tensor:
    values = torch.randn(*shape, dtype=torch.float64)
    return values.contiguous(memory_format=LAYOUTS[layout]).requires_grad_()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_gradients_are_those_of_differences(size: tuple[int, int, int], layout: str) -> None:
    torch.manual_seed(0)
    features, same, other = (random(2, channels, *size, layout=layout) for channels in (3, 3, 4))
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda each: normalise(each.clone()), features)
    assert torch.autograd.gradcheck(lambda each, before: finish(each.clone(), before, None), (features, same))
    assert torch.autograd.gradcheck(lambda each, *rest: finish(each.clone(), *rest), (features, other, weight))


def gradients(block: ResidualBlock, image: Tensor, weight: Tensor, layout: str) -> list[Tensor]:
    block.layout = layout
    block.zero_grad()
    image = image.detach().requires_grad_()
    result = block(image)
    (result * weight).sum().backward()
    return [result.detach(), image.grad, *(each.grad.clone() for each in block.parameters())]


@pytest.mark.parametrize("size", [(9, 7, 8), *SIZES])
@pytest.mark.parametrize("channels", [(3, 5), (4, 4), (1, 4)])
def test_a_block_is_the_function_that_is_written(channels: tuple[int, int], size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(*channels).double()
    # A slice of something larger: neither contiguous nor channels-last.
    image = 3 + torch.randn(2, channels[0], *size, 2, dtype=torch.float64)[..., 0]
    weight = torch.randn(2, channels[1], *size, dtype=torch.float64)
    before = image.clone()
    found, wanted = (gradients(block, image, weight, layout) for layout in ("channels_last", "unchanged"))
    assert torch.equal(image, before)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_rounding_costs_no_more_than_as_written(bfloat16: bool) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(16, 8)
    image, weight = torch.randn(1, 16, 24, 24, 24), torch.randn(1, 8, 24, 24, 24)
    rounded = {}
    for layout in ("channels_last", "unchanged"):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            rounded[layout] = gradients(block, image, weight, layout)
    exact = gradients(block.double(), image.double(), weight.double(), "unchanged")
    for ours, theirs, truth in zip(rounded["channels_last"], rounded["unchanged"], exact, strict=True):
        assert (ours - truth).norm() < 1.3 * (theirs - truth).norm() < 0.1 * truth.norm()


def test_what_the_convolutions_keep_is_enough() -> None:
    """Input, hidden map and result: three maps for a backward pass, of which two belong to the block."""
    block = ResidualBlock(8, 8)
    image = torch.randn(1, 8, 16, 16, 16, requires_grad=True)
    own = {each.untyped_storage().data_ptr() for each in block.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = block(image)
    assert sum(kept.values()) < 3.01 * result.nbytes


def test_the_gradient_is_taken_again_and_what_is_overwritten_is_noticed() -> None:
    features = random(1, 3, 4, 4, 4)
    result = normalise(features * 1)
    (first,) = torch.autograd.grad(result.square().sum(), features, retain_graph=True)
    (again,) = torch.autograd.grad(result.square().sum(), features, retain_graph=True)
    assert torch.equal(first, again)
    result.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


def test_shapes_alone_go_through() -> None:
    block = ResidualBlock(4, 6)
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(2, 4, 6, 5, 4, requires_grad=True)
        assert works_fused(image)
        block(image).sum().backward()
        assert image.grad.shape == image.shape


@pytest.mark.parametrize("rows", [1, 15, 4096, 5000])
def test_moments_are_exact_far_from_zero(rows: int) -> None:
    torch.manual_seed(0)
    values = torch.randn(rows, 6) + 100 * torch.randn(6)
    mean, variance = moments(torch.split(values, 1024))
    torch.testing.assert_close(mean, values.double().mean(0), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(variance, values.double().var(0, correction=0), rtol=1e-5, atol=1e-9)
