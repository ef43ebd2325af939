"""The restated reference does what is said of it; a benchmark against something else would be worth nothing."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from monai.losses import ContrastiveLoss


@pytest.fixture(scope="module")
def published(project_root: Path) -> Iterator[ModuleType]:
    sys.path.insert(0, str(project_root / "scripts" / "bench"))
    try:
        import published_pretraining

        yield published_pretraining
    finally:
        sys.path.remove(str(project_root / "scripts" / "bench"))


@pytest.fixture
def batch() -> torch.Tensor:
    return 10 + torch.rand(4, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))


def test_views_are_turned_about_the_first_axis_as_the_code_has_it(published, batch) -> None:
    turned, turns = published.rotated(batch, random.Random(1))
    assert len(set(turns.tolist())) > 1
    for before, after, number in zip(batch, turned, turns.tolist(), strict=True):
        assert torch.equal(after, before.rot90(number, (2, 3)))


def test_blocks_are_noise_or_another_sample_s_and_cover_no_more_than_they_may(published, batch) -> None:
    torch.manual_seed(0)
    shares, foreign = [], []
    for seed in range(30):
        marked = batch + 10 * torch.arange(4)[:, None, None, None, None]
        seen = published.damaged(marked, random.Random(seed))
        for sample in range(4):
            changed = seen[sample] != marked[sample]
            noise = changed & (seen[sample] <= 1)
            shares.append(float(noise.float().mean()))
            foreign.append(float((changed & ~noise).float().mean()))
    # The last block may reach over the share that was drawn: by 8 x 8 x 8 of 32 x 32 x 32 voxels.
    assert max(shares) <= published.MOST + 8**3 / 32**3
    assert 0.08 < sum(shares) / len(shares) < 0.16  # the mean of U(0, 0.3), less what blocks share
    assert max(foreign) > 0.05
    assert min(foreign) == 0  # where the other sample is the same one


def test_the_loss_is_the_sum_of_the_three(published, batch) -> None:
    views = published.make_views(batch, random.Random(0))
    generator = torch.Generator().manual_seed(0)
    outputs = [
        (torch.randn(4, 4, generator=generator), torch.randn(4, 512, generator=generator), batch * 0.9)
        for _ in range(2)
    ]
    rotation = torch.nn.functional.cross_entropy(torch.cat([one for one, _, _ in outputs]), torch.cat(views.turns))
    contrastive = ContrastiveLoss(temperature=0.5)(outputs[0][1], outputs[1][1])
    rebuilt = torch.cat([(outputs[view][2] - views.whole[view]).abs() for view in range(2)]).mean()
    torch.testing.assert_close(published.loss_of(outputs, views), rotation + contrastive + rebuilt)


def test_the_network_rebuilds_the_size_and_halves_its_channels_four_times(published) -> None:
    network = published.PublishedNetwork(12)
    rotation, contrastive, rebuilt = network(torch.rand(2, 1, 32, 32, 64))
    assert (rotation.shape, contrastive.shape, rebuilt.shape) == ((2, 4), (2, 512), (2, 1, 32, 32, 64))
    widths = (192, 96, 48, 24, 12)
    decoder = sum(27 * wide * narrow + narrow for wide, narrow in zip(widths, (*widths[1:], 12), strict=True)) + 13
    assert sum(parameter.numel() for parameter in network.decoder.parameters()) == decoder
