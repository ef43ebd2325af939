"""The tasks: masks of their stated share, heads of any shape, losses of what they are to be of."""

import einops
import pytest
import torch
from torch.nn import functional as F

from pretrain.config import JitterConfig, PretrainConfig
from pretrain.module import PretrainModule
from pretrain.proxies.config import ContrastiveConfig, InpaintingConfig, MaskedConfig, ProxiesConfig, RotationConfig
from pretrain.proxies.contrastive import Contrastive
from pretrain.proxies.inpainting import Inpainting, random_cuboids
from pretrain.proxies.masked import Masked, random_cubes
from pretrain.proxies.rotation import Rotation
from pretrain.scans.config import ScansConfig
from pretrain.views import Views, start_views
from swin_unetr.config import NetworkConfig

NETWORK = NetworkConfig(feature_size=12, depths=(1, 1), num_heads=(2, 4), window_size=(4, 4, 4))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def views(count: int = 8, size=(16, 16, 16), of_each: int = 1) -> Views:
    image = torch.rand(count, 1, *size, generator=generator(5)) + 10 * torch.arange(count).view(-1, 1, 1, 1, 1)
    return start_views(image, torch.arange(count), of_each, JitterConfig(), generator())


@pytest.mark.parametrize("size", [(32, 32, 32), (24, 32, 16), (48, 48, 48)])
def test_cuboids_cover_up_to_their_share_and_make_use_of_it(size) -> None:
    covered = random_cuboids(60, size, 0.3, (0.05, 0.25), generator()).float().mean((1, 2, 3, 4))
    assert covered.max() <= 0.3
    assert covered.max() > 0.2
    assert 0.08 < covered.mean() < 0.15  # half of 0.3, less what overlaps and what the next cuboid would exceed


def test_a_single_cuboid_has_edges_within_its_bounds_anywhere() -> None:
    masks = random_cuboids(400, (20, 40, 20), 0.02, (0.2, 0.25), generator())[:, 0]
    single = [mask for mask in masks if mask.any()]
    starts = []
    for mask in single:
        place = mask.nonzero()
        extent = place.amax(0) - place.amin(0) + 1
        if extent.prod() == mask.sum():  # one alone
            assert 4 <= extent[0] <= 5
            assert 8 <= extent[1] <= 10
            starts.append(place.amin(0))
    assert len(starts) > 20
    assert (torch.stack(starts).amax(0) - torch.stack(starts).amin(0) > 8).all()


def test_inpainting_changes_what_is_cut_out_alone() -> None:
    before = views()
    after = Inpainting(InpaintingConfig(share=0.5), NETWORK).view(before, generator())
    inside = after.notes["cut"].expand_as(after.seen)
    assert torch.equal(after.seen[~inside], before.whole[~inside])
    assert (after.seen[inside] != before.whole[inside]).all()
    assert torch.equal(after.whole, before.whole)
    noise = [seen[cut] for seen, cut in zip(after.seen, after.notes["cut"], strict=True) if cut.sum() > 200]
    for filled, index in ((part, part.mean() // 10) for part in noise):
        assert abs(filled.mean() - 10 * index - 0.5) < 0.1  # of the view's own mean and deviation
        assert abs(filled.std() - 0.29) < 0.1


def test_noise_of_the_published_code_lies_in_the_unit_interval() -> None:
    after = Inpainting(InpaintingConfig(noise="unit"), NETWORK).view(views(), generator())
    filled = after.seen[after.notes["cut"]]
    assert filled.min() >= 0
    assert filled.max() <= 1


def test_what_is_pasted_comes_from_another_crop_of_the_same_view() -> None:
    before = views(of_each=2)
    after = Inpainting(InpaintingConfig(share=0.4, noise="matched", paste=True), NETWORK).view(before, generator())
    assert torch.equal(after.seen[~after.notes["cut"]], before.whole[~after.notes["cut"]])
    origin = (after.seen / 10).floor()  # which crop a voxel is of; noise of a view is near its own
    own = torch.arange(8).repeat(2).view(-1, 1, 1, 1, 1)
    foreign = after.notes["cut"] & ((origin - own).abs() >= 1) & ((after.seen % 10) < 1)
    assert 0.02 < foreign.float().mean() < 0.4
    assert not (foreign & ~after.notes["cut"]).any()


def test_inpainting_compares_the_whole_view_or_the_cut_alone() -> None:
    for masked_only in (False, True):
        task = Inpainting(InpaintingConfig(masked_only=masked_only), NETWORK)
        seen = task.view(views(), generator())
        output = torch.zeros_like(seen.whole)
        mask = seen.notes["cut"] if masked_only else torch.ones_like(seen.notes["cut"])
        torch.testing.assert_close(task.judge(output, seen).loss, seen.whole[mask].abs().mean())


@pytest.mark.parametrize("share", [0.1, 0.6, 0.75])
def test_masked_cubes_are_exactly_their_share(share) -> None:
    masks = random_cubes(50, (6, 6, 6), share, generator())
    assert (masks.sum((1, 2, 3)) == round(share * 216)).all()
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 50
    assert (masks.float().mean(0) - share).abs().max() < 0.35
    assert random_cubes(9, (1, 1, 2), 0.99, generator()).sum() == 9  # one is left


@pytest.mark.parametrize("size", [(32, 32, 32), (32, 16, 48)])
def test_masked_voxels_are_whole_cubes_and_the_loss_is_theirs(size) -> None:
    task = Masked(MaskedConfig(weight=1, cube=8, share=0.5), NETWORK)
    seen = task.view(views(4, size), generator())
    assert torch.equal(seen.seen, seen.whole)
    voxels = F.interpolate(seen.notes["masked"][:, None].float(), scale_factor=2) > 0  # tokens are patches of 2 voxels
    assert voxels.shape == seen.whole.shape
    cubes = einops.rearrange(voxels, "n 1 (x a) (y b) (z c) -> n x y z (a b c)", a=8, b=8, c=8).float().mean(-1)
    assert set(cubes.flatten().tolist()) == {0.0, 1.0}
    assert (cubes.mean((1, 2, 3)) == 0.5).all()
    output = torch.zeros_like(seen.whole)
    torch.testing.assert_close(task.judge(output, seen).loss, seen.whole[voxels].abs().mean())


def test_a_token_of_the_bottleneck_tells_its_own_voxels() -> None:
    network = NetworkConfig(feature_size=12, depths=(1, 1), num_heads=(2, 4), patch_size=(4, 2, 2), in_channels=3)
    task = Masked(MaskedConfig(weight=1), network)
    deepest = torch.randn(2, 48, 2, 3, 4, generator=generator())
    a, b, c = network.size_divisor
    arranged = einops.rearrange(task.head(deepest), "n (k a b c) x y z -> n k (x a) (y b) (z c)", k=3, a=a, b=b, c=c)
    torch.testing.assert_close(task(deepest), arranged)


@pytest.mark.parametrize("task", ["rotation", "contrastive"])
def test_heads_read_the_mean_or_the_token_of_the_published_code(task) -> None:
    deepest = torch.randn(3, 48, 2, 2, 2, generator=generator())
    for reads in ("pooled", "token"):
        head = (
            Rotation(RotationConfig(reads=reads), NETWORK)
            if task == "rotation"
            else Contrastive(ContrastiveConfig(reads=reads), NETWORK)
        )
        token = deepest[:, :, 0, 0, 0] if task == "rotation" else deepest[:, :, 0, 0, 1]
        torch.testing.assert_close(head(deepest), head.head(deepest.mean((2, 3, 4)) if reads == "pooled" else token))


def test_rotation_is_judged_by_cross_entropy_and_hits() -> None:
    task = Rotation(RotationConfig(), NETWORK)
    seen = task.view(views(), generator())
    scores = torch.randn(8, 4, generator=generator(1))
    judged = task.judge(scores, seen)
    torch.testing.assert_close(judged.loss, -scores.log_softmax(1)[torch.arange(8), seen.notes["turns"]].mean())
    assert (
        judged.figures["accuracy"]
        == sum(int(row.argmax()) == int(k) for row, k in zip(scores, seen.notes["turns"], strict=True)) / 8
    )


ALL = ProxiesConfig(masked=MaskedConfig(weight=1, cube=8))
SHAPES = {
    "published stages": ({"feature_size": 12, "depths": (1, 1, 1, 1), "num_heads": (2, 2, 4, 4)}, (32, 32, 32)),
    "two stages, three channels, no cube": (
        {"feature_size": 24, "depths": (1, 1), "num_heads": (3, 6), "in_channels": 3},
        (16, 24, 8),
    ),
    "uneven patch": ({"feature_size": 12, "depths": (1, 1), "num_heads": (2, 4), "patch_size": (2, 2, 1)}, (16, 16, 8)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", ["nt_xent", "barlow_twins"])
def test_any_shape_trains_on_all_tasks_together(shape, loss) -> None:
    fields, size = SHAPES[shape]
    network = NetworkConfig(window_size=(4, 4, 4), **fields)
    tasks = ProxiesConfig(masked=MaskedConfig(weight=1, cube=8), contrastive=ContrastiveConfig(loss=loss, head="mlp"))
    module = PretrainModule(PretrainConfig(network=network, scans=ScansConfig(crop_size=size), proxies=tasks))
    image = torch.rand(3, network.in_channels, *size, generator=generator())
    made = module.make_views({"image": image, "scan": torch.arange(3)}, generator())
    outputs = module.network(made)
    assert outputs.heads["inpainting"].shape == outputs.heads["masked"].shape == made.whole.shape
    assert (outputs.heads["rotation"].shape, outputs.heads["contrastive"].shape) == ((6, 4), (6, 512))
    total, judged = module.losses(outputs, made)
    torch.testing.assert_close(total, sum(task.loss for task in judged.values()))
    total.backward()
    still = [name for name, part in module.named_parameters() if part.grad is None or not part.grad.isfinite().all()]
    assert not still


def test_weights_weigh_and_a_weight_of_zero_leaves_out() -> None:
    tasks = ProxiesConfig(
        inpainting=InpaintingConfig(weight=0),
        rotation=RotationConfig(weight=3.0),
        contrastive=ContrastiveConfig(weight=0.5),
    )
    module = PretrainModule(PretrainConfig(network=NETWORK, scans=ScansConfig(crop_size=(16, 16, 16)), proxies=tasks))
    made = module.make_views({"image": views().whole, "scan": torch.arange(8)}, generator())
    total, judged = module.losses(module.network(made), made)
    assert set(judged) == {"rotation", "contrastive"}
    torch.testing.assert_close(total, 3 * judged["rotation"].loss + 0.5 * judged["contrastive"].loss)
    assert module.scalar_names == ("rotation/loss", "rotation/accuracy", "contrastive/loss", "contrastive/top1")


def test_the_same_seed_gives_the_same_views_of_all_tasks() -> None:
    module = PretrainModule(
        PretrainConfig(
            network=NETWORK,
            scans=ScansConfig(crop_size=(16, 16, 16)),
            proxies=ALL,
            jitter=JitterConfig(probability=0.5),
        )
    )
    batch = {"image": views().whole, "scan": torch.arange(8)}
    one, same, other = (module.make_views(batch, generator(seed)) for seed in (1, 1, 2))
    drawn, again, otherwise = ({"whole": each.whole, "seen": each.seen, **each.notes} for each in (one, same, other))
    assert set(drawn) == {"whole", "seen", "turns", "cut", "masked"}
    for name in drawn:
        assert torch.equal(drawn[name], again[name])
        assert not torch.equal(drawn[name], otherwise[name])


def test_what_a_task_puts_around_the_encoder_holds_for_one_pass() -> None:
    module = PretrainModule(PretrainConfig(network=NETWORK, scans=ScansConfig(crop_size=(16, 16, 16)), proxies=ALL))
    made = module.make_views({"image": views().whole, "scan": torch.arange(8)}, generator())
    plain = module.encoder(made.seen)[-1]
    seen = module.network(made).deepest
    with module.network.tasks["masked"].around(module.encoder, made):
        assert torch.equal(module.encoder(made.seen)[-1], seen)
    assert not torch.equal(plain, seen)
    assert torch.equal(module.encoder(made.seen)[-1], plain)


def test_the_gradients_of_inpainting_in_bfloat16_are_those_of_float32_on_a_thin_bottleneck() -> None:
    """A bottleneck of two voxels: oneDNN's own gradient reads memory that nothing wrote."""
    network = NetworkConfig(in_channels=1, num_classes=1, feature_size=12, depths=(2, 2, 2), num_heads=(2, 2, 2))
    torch.manual_seed(0)
    task = Inpainting(InpaintingConfig(), network)
    deepest = torch.randn(2, network.deepest_width, 2, 2, 2)

    def gradients(low: bool) -> torch.Tensor:
        task.zero_grad()
        torch.full((5_000_000,), float("nan"))  # what freed memory holds
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            task(deepest).float().square().mean().backward()
        first = next(task.decoder.parameters()).grad
        assert first is not None
        return first.clone()

    exact = gradients(False)
    for _ in range(20):
        torch.testing.assert_close(gradients(True), exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))
