"""Sums in half precision: close to those in float32 and to MONAI's, of whatever size the values are."""

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor

from swin_unetr.config import InferenceConfig
from swin_unetr.inference.engine.accumulate import Sweep
from swin_unetr.inference.engine.sums import SUMS, HalfMean, WeightedSum
from swin_unetr.inference.engine.windows import blending_weights, lay_windows

CPU = torch.device("cpu")
BOX = ((0, 4), (0, 4), (0, 4))
EVERYWHERE = (slice(None), slice(None), slice(None))
#: A rounding to float16, relative to the value.
ROUNDING = 2.0**-11


def blended(kind: type[WeightedSum], results: list[Tensor], weights: list[Tensor]) -> Tensor:
    """Means of windows that lie on top of each other."""
    total = kind(BOX, len(results[0]), CPU)
    for result, weight in zip(results, weights, strict=True):
        total.add(result, weight, (0, 0, 0))
    total.finish()
    return total.means(*EVERYWHERE)


@pytest.fixture
def windows() -> tuple[list[Tensor], list[Tensor]]:
    """Sixty-four results of one voxel each, as at an overlap of 3/4, with weights as different as blending has them."""
    results = [torch.randn(3, 4, 4, 4) * 8 for _ in range(64)]
    return results, [10 ** torch.empty(4, 4, 4).uniform_(-3, 0) for _ in results]


@pytest.mark.parametrize("size", [1, 1e6, 1e30, 1e-9, 1e-36])
def test_values_of_any_size_are_blended_to_half_precision(windows, size) -> None:
    results, weights = windows
    found = blended(HalfMean, [result * size for result in results], weights)
    expected = sum(r.double() * w for r, w in zip(results, weights, strict=True)) / sum(weights)
    error = (found.double() / size - expected).abs().max() / 8
    assert 0 < error < 8 * ROUNDING  # each of the windows rounds
    # The same in every size but for what is below float16's smallest numbers: the scale is a power of two.
    assert blended(WeightedSum, [result * size for result in results], weights).isfinite().all()


def test_windows_that_grow_do_not_overflow() -> None:
    """The second is a million times the first, the third a million times the second."""
    one = torch.ones(4, 4, 4)
    for sizes in ((1, 1e6, 1e12), (1e12, 1e6, 1), (0, 1, 60_000), (60_000, 60_001, 70_000), (0, 0, 0)):
        found = blended(HalfMean, [torch.full((2, 4, 4, 4), float(size)) for size in sizes], [one, one, one])
        torch.testing.assert_close(found, torch.full((2, 4, 4, 4), sum(sizes) / 3), rtol=3 * ROUNDING, atol=0)


def test_order_of_large_scores_is_kept() -> None:
    """Both are beyond float16, where cutting off would make them equal."""
    result = torch.stack([torch.full((4, 4, 4), 2e5), torch.full((4, 4, 4), 3e5)])
    assert (blended(HalfMean, [result, result], [torch.ones(4, 4, 4)] * 2).argmax(0) == 1).all()


def test_what_no_finite_number_is_stays_so() -> None:
    result = torch.zeros(2, 4, 4, 4)
    result[0, 0], result[1, 1] = torch.nan, torch.inf
    found = blended(HalfMean, [torch.ones(2, 4, 4, 4), result], [torch.ones(4, 4, 4)] * 2)
    assert not found[0, 0].isfinite().any()
    assert not found[1, 1].isfinite().any()
    assert (found[:, 2:] == 0.5).all()


def test_half_the_bytes_are_held() -> None:
    voxels = 4**3
    for name, size in (("float32", 4), ("float16", 2)):
        total = SUMS[name](BOX, 5, CPU)
        assert str(total.values.dtype).endswith(name)
        assert total.values.numel() * total.values.element_size() == 5 * size * voxels
        assert SUMS[name].voxel_bytes(5) == 5 * size + 4


@pytest.mark.parametrize("weights", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.5, 0.75])
def test_equals_monai_to_half_precision(weights, overlap) -> None:
    size = (40, 33, 24)
    image = torch.rand(1, *size) * 10
    config = InferenceConfig(roi_size=(16, 16, 16), overlap=overlap, weights=weights)

    def network(batch: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, 16)
        return torch.cat([batch + batch.roll(1, dims=2), batch * ramp], dim=1)

    expected = sliding_window_inference(
        image[None], config.roi_size, 1, network, overlap=config.overlap, mode=config.weights
    )[0]
    whole = ((0, 40), (0, 33), (0, 24))
    layout = lay_windows(size, config)
    errors = {}
    for kind in ("float32", "float16"):
        moving = Sweep(
            image, layout, 0, whole, network, channels=2, weights=blending_weights(config, CPU), accumulate=kind
        )
        found = []
        for first in range(0, 40, 5):
            moving.release(first)
            moving.reach(first + 5)
            found.append(moving.block(((first, first + 5), *whole[1:])).values.clone())
        errors[kind] = float((torch.cat(found, dim=1) - expected).abs().max() / expected.abs().max())
    assert errors["float32"] < 1e-6 < ROUNDING < errors["float16"] < 12 * ROUNDING  # as many windows are added
