"""Masked modelling through the whole network: nothing under the mask is seen, and everything is trained."""

from dataclasses import replace

import einops
import pytest
import torch

from pretrain.config import PretrainConfig
from pretrain.module import PretrainModule
from pretrain.proxies.config import ContrastiveConfig, InpaintingConfig, MaskedConfig, ProxiesConfig, RotationConfig
from pretrain.proxies.masked_network import covered
from pretrain.scans.config import ScansConfig
from pretrain.views import Views
from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinBody, build_network

NETWORK = NetworkConfig(feature_size=12, depths=(1, 1), num_heads=(2, 4), window_size=(4, 4, 4), in_channels=2)
VARIANTS = [NETWORK, replace(NETWORK, normalize=False, patch_norm=True, use_v2=True, patch_size=(4, 2, 2))]
OFF = {"weight": 0.0}
ALONE = ProxiesConfig(
    rotation=RotationConfig(**OFF),
    inpainting=InpaintingConfig(**OFF),
    contrastive=ContrastiveConfig(**OFF),
    masked=MaskedConfig(weight=1.0, cube=8, through="network"),
)
SIZE = (32, 32, 16)


def module(network: NetworkConfig = NETWORK, proxies: ProxiesConfig = ALONE) -> PretrainModule:
    torch.manual_seed(0)
    return PretrainModule(PretrainConfig(network=network, scans=ScansConfig(crop_size=SIZE), views=1, proxies=proxies))


def batch() -> dict[str, torch.Tensor]:
    image = torch.rand(2, 2, *SIZE, generator=torch.Generator().manual_seed(0))
    return {"image": image, "scan": torch.arange(2)}


def made(network: PretrainModule, **changed: torch.Tensor) -> Views:
    return network.make_views({**batch(), **changed}, torch.Generator().manual_seed(3))


def voxels_of(mask: torch.Tensor, network: NetworkConfig) -> torch.Tensor:
    x, y, z = network.patch_size
    return einops.repeat(mask, "n x y z -> n (x a) (y b) (z c)", a=x, b=y, c=z)[:, None]


@pytest.mark.parametrize("network", VARIANTS, ids=["plain", "v2"])
def test_no_masked_voxel_changes_any_output(network: NetworkConfig) -> None:
    model = module(network)
    views = made(model)
    hidden = voxels_of(views.notes["masked"], network).expand_as(views.whole)
    assert 0.4 < hidden.float().mean() < 0.8
    other = torch.where(hidden, 100 * torch.rand(views.whole.shape) - 50, views.whole)
    changed = replace(views, seen=other, whole=other)
    with torch.no_grad():
        ours, theirs = (model.network(each) for each in (views, changed))
        seen_too = model.network(replace(views, seen=views.seen + 0.1 * (~hidden)))
    assert torch.equal(ours.heads["masked"], theirs.heads["masked"])
    assert torch.equal(ours.deepest, theirs.deepest)
    assert not torch.equal(ours.heads["masked"], seen_too.heads["masked"])


def test_every_map_and_the_image_hold_their_token_where_the_mask_covers_them() -> None:
    model = module()
    views, task = made(model), model.network.tasks["masked"]
    maps = [torch.randn(2, 12 * 2**level, *(extent // 2 ** (level + 1) for extent in SIZE)) for level in range(3)]
    hidden, image = task.to_decoder(maps, views)
    masked = voxels_of(views.notes["masked"], NETWORK)
    for level, (before, after, token) in enumerate(zip(maps, hidden, task.map_tokens, strict=True), start=1):
        edge = 2**level
        cells = einops.rearrange(masked, "n 1 (x a) (y b) (z c) -> n x y z (a b c)", a=edge, b=edge, c=edge).all(-1)
        assert cells.any()
        assert torch.equal(covered(views.notes["masked"], tuple(before.shape[2:])), cells)
        for n, x, y, z in cells.nonzero().tolist():
            assert torch.equal(after[n, :, x, y, z], token)
        kept = ~cells[:, None].expand_as(before)
        assert torch.equal(after[kept], before[kept])
    assert torch.equal(image, torch.where(masked, task.image_token.view(1, -1, 1, 1, 1), views.seen))


def test_a_cell_that_is_masked_in_part_is_kept() -> None:
    mask = torch.ones(1, 4, 4, 2, dtype=torch.bool)
    mask[0, 3, 0, 1] = False
    assert covered(mask, (2, 2, 1)).tolist() == [[[[True], [True]], [[False], [True]]]]


def test_everything_but_the_output_layer_is_trained_and_kept() -> None:
    model = module()
    views = made(model)
    loss, judged = model.losses(model.network(views), views)
    masked = voxels_of(views.notes["masked"], NETWORK).expand_as(views.whole)
    output = model.network(views).heads["masked"]
    torch.testing.assert_close(loss, (output - views.whole)[masked].abs().mean())
    loss.backward()
    without = [name for name, parameter in model.network.named_parameters() if not parameter.grad.any()]
    # logits of attention do not change if all keys move alike
    assert not [name for name in without if "qkv.bias" not in name]
    assert isinstance(model.kept, SwinBody)
    whole = build_network(NETWORK).state_dict()
    assert model.kept.state_dict().keys() == {name for name in whole if not name.startswith("head.")}
    picture = judged["masked"].picture
    assert picture is not None
    assert [part.shape for part in picture] == [(1, 2, *SIZE)] * 3


def test_the_network_is_put_together_as_the_one_that_segments() -> None:
    network = build_network(NETWORK)
    body = SwinBody(NETWORK)
    body.load_state_dict({name: value for name, value in network.state_dict().items() if not name.startswith("head.")})
    image = batch()["image"]
    with torch.no_grad():
        features = body.decode(body.encoder(image), image)
        assert torch.equal(features, network.forward_features(image))
        torch.testing.assert_close(network.head(features), network(image), rtol=1e-4, atol=1e-5)


def test_other_tasks_learn_beside_it() -> None:
    tasks = replace(ALONE, rotation=RotationConfig(plane="XY"), inpainting=InpaintingConfig())
    model = module(proxies=tasks)
    views = made(model)
    total, judged = model.losses(model.network(views), views)
    assert judged.keys() == {"rotation", "inpainting", "masked"}
    assert total.isfinite()
    assert torch.equal(views.notes["turns"], made(model).notes["turns"])
