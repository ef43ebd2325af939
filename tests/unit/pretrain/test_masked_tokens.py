"""The encoder sees a learnt token where a mask is, and is the encoder otherwise."""

import pytest
import torch

from pretrain.proxies.masked import masked_tokens
from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinEncoder


@pytest.fixture(params=[{}, {"normalize": False, "patch_norm": True, "use_v2": True, "patch_size": (4, 2, 2)}])
def encoder(request) -> SwinEncoder:
    torch.manual_seed(0)
    shape = {"feature_size": 12, "depths": (2, 1), "num_heads": (2, 4), "window_size": (4, 4, 4), **request.param}
    return SwinEncoder(NetworkConfig(**shape))


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 1, 32, 16, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def token() -> torch.Tensor:
    return torch.randn(12, generator=torch.Generator().manual_seed(1)).requires_grad_()


def nowhere(encoder: SwinEncoder, image: torch.Tensor) -> torch.Tensor:
    sizes = zip(image.shape[2:], encoder.config.patch_size, strict=True)
    return torch.zeros((len(image), *(extent // patch for extent, patch in sizes)), dtype=torch.bool)


def deepest(encoder, image, mask, token) -> torch.Tensor:
    with masked_tokens(encoder, mask, token):
        return encoder(image)[-1]


def test_without_a_mask_it_is_the_encoder_and_so_it_is_afterwards(encoder, image, token) -> None:
    wanted = encoder(image)[-1]
    torch.testing.assert_close(deepest(encoder, image, None, token), wanted, rtol=0, atol=0)
    torch.testing.assert_close(deepest(encoder, image, nowhere(encoder, image), token), wanted, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="stop"), masked_tokens(encoder, ~nowhere(encoder, image), token):
        raise RuntimeError("stop")
    torch.testing.assert_close(encoder(image)[-1], wanted, rtol=0, atol=0)


def test_what_is_masked_is_not_seen(encoder, image, token) -> None:
    mask = nowhere(encoder, image)
    mask[0, :4, 2:6] = True
    px, py, _ = encoder.config.patch_size
    other = image.clone()
    other[0, :, : 4 * px, 2 * py : 6 * py] = torch.rand(4 * px, 4 * py, 24)
    found = deepest(encoder, image, mask, token)
    torch.testing.assert_close(found, deepest(encoder, other, mask, token), rtol=0, atol=0)
    whole = encoder(image)[-1]
    assert not torch.equal(found[0], whole[0])
    torch.testing.assert_close(found[1], whole[1])  # nothing is masked there


def test_gradients_reach_the_token_from_masked_places_and_the_embedding_from_the_others(encoder, image, token) -> None:
    mask, weight = nowhere(encoder, image), encoder.patch_embedding.projection.weight
    probe = torch.rand(deepest(encoder, image, mask, token).shape)
    (deepest(encoder, image, mask, token) * probe).sum().backward()
    assert not token.grad.any()
    assert weight.grad.any()
    encoder.zero_grad()
    (deepest(encoder, image, ~mask, token) * probe).sum().backward()
    assert token.grad.any()
    assert not weight.grad.any()
