"""The spread of features: known values, and warnings on collapse alone."""

import pytest
import torch

from pretrain.health.config import HealthConfig
from pretrain.health.spread import LEAST_VIEWS, LatestFeatures, collapse, effective_rank, spread


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_effective_rank_of_equal_singular_values_is_their_number() -> None:
    rows = torch.cat([torch.eye(5), -torch.eye(5)])  # centred, five equal singular values
    assert effective_rank(rows) == pytest.approx(5)


def test_the_effective_rank_is_the_entropy_of_the_shares() -> None:
    values = torch.tensor([3.0, 1.0])
    rows = torch.cat([values.diag(), -values.diag()])
    shares = values / values.sum()
    assert effective_rank(rows) == pytest.approx(float((-(shares * shares.log()).sum()).exp()))


def test_rows_on_a_line_have_rank_one_and_equal_rows_none(generator) -> None:
    line = torch.randn(20, 1, generator=generator) * torch.randn(1, 48, generator=generator) + 3
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.randn(1, 48, generator=generator).expand(20, 48)) == 0


def test_directions_without_a_common_one_have_a_spread_of_one(generator) -> None:
    found = spread(torch.randn(4096, 64, generator=generator))
    assert found.std == pytest.approx(1, abs=0.01)
    assert found.rank == pytest.approx(64, rel=0.05)
    assert collapse(found, HealthConfig()) is None


def test_the_length_of_the_features_does_not_matter(generator) -> None:
    rows = torch.randn(32, 16, generator=generator)
    first, second = spread(rows), spread(1000 * rows)
    assert first.std == pytest.approx(second.std, rel=1e-5)
    assert first.rank == pytest.approx(second.rank, rel=1e-5)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_equal_features_are_a_collapse(noise, generator) -> None:
    rows = torch.randn(1, 64, generator=generator) + noise * torch.randn(64, 64, generator=generator)
    assert "nearly the same" in collapse(spread(rows), HealthConfig())


def test_features_on_a_line_are_a_collapse(generator) -> None:
    line = torch.randn(64, 1, generator=generator) * torch.randn(1, 32, generator=generator)
    found = spread(torch.randn(1, 32, generator=generator) + line)
    assert found.std > 0.1
    assert "directions" in collapse(found, HealthConfig())


def test_features_that_are_no_numbers_are_a_collapse() -> None:
    rows = torch.randn(16, 8)
    rows[3, 3] = torch.nan
    found = spread(rows)
    assert collapse(found, HealthConfig()) is not None


def test_the_latest_features_are_kept() -> None:
    latest = LatestFeatures(views=10)
    rows = torch.arange(26.0).reshape(13, 2)
    latest.add(rows[: LEAST_VIEWS - 2])
    assert latest.rows() is None
    for start in range(LEAST_VIEWS - 2, 13, 2):
        latest.add(rows[start : start + 2])
    torch.testing.assert_close(latest.rows(), rows[-10:])
    latest.add(torch.zeros(50, 2))
    assert latest.rows().shape == (10, 2)
    assert not latest.rows().any()
