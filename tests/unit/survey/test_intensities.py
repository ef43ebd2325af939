"""Statistics by slabs, against NumPy's of the whole array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.survey import intensities
from swin_unetr.survey.facts import PERCENTILES, SAMPLE_SIZE
from swin_unetr.survey.intensities import channel_facts, choose_sample, foreground_positions, foreground_sample


def positions(labels: np.ndarray) -> np.ndarray:
    return foreground_positions(labels, np.random.default_rng(0))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    dtype=st.sampled_from(["int16", "uint8", "float32", "float64", ">i2"]),
    slab=st.sampled_from([1, 5, 64, 1 << 22]),
    spoilt=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_facts_are_those_of_the_whole_array(
    shape: tuple[int, int, int], dtype: str, slab: int, spoilt: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    channel: np.ndarray[Any, Any] = np.asfortranarray(rng.integers(-3 if dtype != "uint8" else 0, 90, shape)).astype(
        dtype
    )
    if channel.dtype.kind == "f":
        for value in [np.nan, np.inf, -np.inf, np.nan][:spoilt]:
            channel[tuple(rng.integers(0, shape))] = value
    labels = rng.integers(0, 4, shape).astype(np.uint16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intensities, "_SLAB", slab)
        facts = channel_facts(channel, labels, positions(labels))
    good = np.isfinite(channel.astype(float))
    values = channel[good].astype(float)
    assert facts.not_finite == (~good).sum()
    assert facts.zero_share == pytest.approx((values == 0).sum() / channel.size)
    if not values.size:
        assert facts.all is None
        return
    assert facts.all is not None
    assert (facts.all.voxels, facts.all.low, facts.all.high) == (values.size, values.min(), values.max())
    assert facts.all.mean == pytest.approx(values.mean(), rel=1e-5, abs=1e-5)
    assert facts.all.std == pytest.approx(values.std(), rel=1e-5, abs=1e-5)
    assert facts.all.percentiles == pytest.approx(np.percentile(values, PERCENTILES), rel=1e-5)
    assert facts.lowest_share == pytest.approx((values == values.min()).sum() / channel.size)
    means = {int(value): channel[good & (labels == value)].mean(dtype=float) for value in np.unique(labels[good])}
    assert facts.mean_of_label == pytest.approx(means, rel=1e-5, abs=1e-5)
    inside = channel[good & (labels > 0)].astype(float)
    if inside.size:
        assert facts.foreground is not None
        assert facts.foreground.voxels == inside.size
        assert facts.foreground.percentiles == pytest.approx(np.percentile(inside, PERCENTILES), rel=1e-5)
    else:
        assert facts.foreground is None


def test_large_values_with_a_small_spread_keep_their_deviation() -> None:
    """Sums of squares about 0 would lose it."""
    channel = (1e8 + np.random.default_rng(0).normal(0, 1, (20, 20, 20))).astype(np.float64)
    facts = channel_facts(channel, None, np.zeros(0, np.int64))
    assert facts.all is not None
    assert facts.all.std == pytest.approx(channel.std(), rel=1e-4)
    assert facts.mean_of_label == {}
    assert facts.foreground is None


@pytest.mark.parametrize("order", ["C", "F"])
def test_positions_count_as_fortran_does(order: str) -> None:
    labels = np.zeros((3, 4, 5), np.uint16, order=order)  # type: ignore[call-overload]
    labels[2, 1, 3] = labels[0, 3, 0] = 7
    assert positions(labels).tolist() == [0 + 3 * 3, 2 + 3 * 1 + 12 * 3]


def test_a_sample_of_many_positions_is_even_sorted_and_the_same_for_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensities, "_FOR_PERCENTILES", 500)
    labels = np.random.default_rng(1).integers(0, 2, (30, 30, 30)).astype(np.uint16)
    found = positions(labels)
    assert 400 < found.size <= 500
    assert (np.diff(found) > 0).all()
    assert labels.reshape(-1, order="F")[found].all()
    np.testing.assert_array_equal(found, positions(labels))
    thirds = np.histogram(found, 3, (0, labels.size))[0] / found.size
    np.testing.assert_allclose(thirds, 1 / 3, atol=0.06)


def test_the_kept_sample_is_of_the_same_voxels_in_every_channel() -> None:
    labels = np.ones((20, 20, 20), np.uint16)
    at = positions(labels)
    chosen = choose_sample(at, np.random.default_rng(0))
    assert len(chosen) == SAMPLE_SIZE < at.size
    place = np.arange(labels.size, dtype=np.float32).reshape(labels.shape, order="F")
    assert foreground_sample(place, at, chosen) == tuple(map(float, at[chosen]))
    assert foreground_sample(np.full(labels.shape, np.nan), at, chosen) == (0.0,) * SAMPLE_SIZE
    few = at[:10]
    assert choose_sample(few, np.random.default_rng(0)).tolist() == list(range(10))
