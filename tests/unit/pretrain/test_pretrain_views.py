"""Views of a batch: what they change, what they leave, and that the seed alone decides."""

import pytest
import torch

from pretrain.config import JitterConfig
from pretrain.proxies.config import RotationConfig
from pretrain.proxies.rotation import Rotation
from pretrain.views import start_views, turned
from swin_unetr.config import NetworkConfig

OFF = JitterConfig()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crops(count: int, size=(6, 6, 6), channels: int = 2) -> torch.Tensor:
    return torch.rand(count, channels, *size, generator=generator(9))


def views(image: torch.Tensor, count: int = 1, jitter: JitterConfig = OFF, seed: int = 0):
    return start_views(image, torch.arange(len(image)), count, jitter, generator(seed))


@pytest.mark.parametrize("axes", [(2, 3), (2, 4), (3, 4)])
def test_turns_are_those_of_rot90(axes) -> None:
    size = [6, 6, 6]
    size[({2, 3, 4} - set(axes)).pop() - 2] = 4  # the axis that is not turned
    image = crops(8, tuple(size))
    turns = torch.arange(8) % 4
    found = turned(views(image), turns, axes)
    wanted = torch.stack(
        [torch.rot90(crop, int(k), [axis - 1 for axis in axes]) for crop, k in zip(image, turns, strict=True)]
    )
    assert torch.equal(found.whole, wanted)
    assert torch.equal(found.seen, wanted)
    assert torch.equal(found.notes["turns"], turns)


def test_halves_where_the_plane_is_no_square() -> None:
    image = crops(64, (6, 4, 6))
    found = Rotation(RotationConfig(), NetworkConfig()).view(views(image), generator())
    assert set(found.notes["turns"].tolist()) == {0, 2}
    wanted = torch.stack(
        [torch.rot90(crop, int(k), (1, 2)) for crop, k in zip(image, found.notes["turns"], strict=True)]
    )
    assert torch.equal(found.whole, wanted)


def test_by_default_the_body_turns_about_its_axis_and_all_turns_are_as_likely() -> None:
    image = crops(4000, (2, 2, 3), channels=1)
    found = Rotation(RotationConfig(), NetworkConfig()).view(views(image), generator())
    counts = torch.bincount(found.notes["turns"], minlength=4)
    assert ((counts - 1000).abs() < 150).all()
    for axis_of_body in range(3):  # slices stay where they are
        one, other = found.whole[..., axis_of_body].flatten(1), image[..., axis_of_body].flatten(1)
        assert torch.equal(one.sort(1)[0], other.sort(1)[0])


def test_the_reference_codes_plane_can_be_chosen() -> None:
    image = crops(16)
    found = Rotation(RotationConfig(plane="YZ"), NetworkConfig()).view(views(image), generator())
    wanted = torch.stack(
        [torch.rot90(crop, int(k), (2, 3)) for crop, k in zip(image, found.notes["turns"], strict=True)]
    )
    assert torch.equal(found.whole, wanted)


def test_first_views_come_before_second_ones() -> None:
    image = crops(3)
    found = views(image, count=2)
    assert torch.equal(found.whole, torch.cat([image, image]))
    assert found.scan.tolist() == [0, 1, 2, 0, 1, 2]
    assert found.count == 2


def test_jitter_scales_and_shifts_a_view_as_a_whole() -> None:
    image = crops(500)
    found = views(image, jitter=JitterConfig(probability=0.5, scale=0.2, shift=0.3)).whole
    low, high = image.flatten(1).argmin(1), image.flatten(1).argmax(1)
    rows = torch.arange(500)
    before, after = image.flatten(1), found.flatten(1)
    factor = (after[rows, high] - after[rows, low]) / (before[rows, high] - before[rows, low])
    addend = after[rows, low] - factor * before[rows, low]
    torch.testing.assert_close(after, factor[:, None] * before + addend[:, None], rtol=0, atol=1e-4)
    assert ((factor - 1).abs() < 0.2 + 1e-4).all()
    assert (addend.abs() < 0.3 + 1e-4).all()
    for changed in ((factor - 1).abs() > 1e-4, addend.abs() > 1e-4):
        assert 0.42 < changed.float().mean() < 0.58
    assert torch.equal(views(image).whole, image)


def test_both_views_of_a_crop_are_changed_apart() -> None:
    found = views(crops(20), count=2, jitter=JitterConfig(probability=1.0)).whole
    assert not torch.isclose(found[:20], found[20:]).all(dim=(1, 2, 3, 4)).any()


def test_the_seed_decides_and_the_global_state_does_not() -> None:
    jitter, task, image = JitterConfig(probability=1.0), Rotation(RotationConfig(), NetworkConfig()), crops(16)

    def make(seed: int):
        torch.manual_seed(torch.seed() % 2**31)
        draws = generator(seed)
        return task.view(start_views(image, torch.arange(16), 2, jitter, draws), draws)

    assert torch.equal(make(1).whole, make(1).whole)
    assert not torch.equal(make(1).whole, make(2).whole)
