"""Statistics of the voxels of a channel, by slabs: never a second copy of the scan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.survey.facts import PERCENTILES, SAMPLE_SIZE, ChannelFacts, Intensities
from transforms.values import looks_like_labels

#: Voxels that are looked at together.
_SLAB = 1 << 22
#: Voxels of which percentiles are taken, at most.
_FOR_PERCENTILES = 200_000


class _Sums:
    """Count, extremes, mean and deviation of values that come in parts; computed about the first part's mean."""

    def __init__(self) -> None:
        self.voxels, self.low, self.high = 0, np.inf, -np.inf
        self._about, self._sum, self._squares = 0.0, 0.0, 0.0

    def add(self, values: NDArray[Any]) -> None:
        if not values.size:
            return
        numbers = values.astype(np.float64)
        self._about = self._about if self.voxels else float(numbers.mean())
        self.voxels += numbers.size
        self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
        numbers -= self._about
        self._sum += float(numbers.sum())
        self._squares += float(np.dot(numbers, numbers))

    def intensities(self, sample: NDArray[Any]) -> Intensities | None:
        if not self.voxels:
            return None
        away = self._sum / self.voxels
        deviation = float(np.sqrt(max(0.0, self._squares / self.voxels - away**2)))
        percentiles = np.percentile(sample, PERCENTILES) if sample.size else np.full(len(PERCENTILES), self.low)
        return Intensities(
            voxels=self.voxels,
            low=_short(self.low),
            high=_short(self.high),
            mean=_short(self._about + away),
            std=_short(deviation),
            percentiles=tuple(_short(value) for value in percentiles),
        )


def channel_facts(channel: NDArray[Any], labels: NDArray[Any] | None, foreground: NDArray[np.int64]) -> ChannelFacts:
    """Statistics of one channel.

    Args:
        channel: X x Y x Z numbers.
        labels: label values of the same shape, whole numbers. If None, the case has no labels.
        foreground: flat positions (Fortran order) of a sample of the labelled voxels.
    """
    flat = channel.reshape(-1, order="F")
    every, inside = _Sums(), _Sums()
    sums: dict[int, list[float]] = {}
    zeros = 0
    for part, of_labels in _parts(flat, None if labels is None else labels.reshape(-1, order="F")):
        good = _is_finite(part) if part.dtype.kind == "f" else None
        values = part if good is None else part[good]
        every.add(values)
        zeros += int(np.count_nonzero(values == 0))
        if of_labels is not None:
            numbers = of_labels if good is None else of_labels[good]
            inside.add(values[numbers > 0])
            _add_by_label(sums, numbers, values)
    sample = flat[:: max(1, flat.size // _FOR_PERCENTILES)]
    lowest = sum(int(np.count_nonzero(part == every.low)) for part, _ in _parts(flat, None))
    return ChannelFacts(
        not_finite=flat.size - every.voxels,
        all=every.intensities(_finite(sample)),
        foreground=inside.intensities(_finite(flat[foreground])),
        mean_of_label={value: _short(total / count) for value, (total, count) in sorted(sums.items())},
        zero_share=zeros / flat.size,
        lowest_share=lowest / flat.size,
        label_values=looks_like_labels(channel),
    )


def foreground_positions(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Flat positions (Fortran order) of labelled voxels, sorted: all, or an even sample of them."""
    flat = labels.reshape(-1, order="F")
    total = sum(int(np.count_nonzero(part > 0)) for part, _ in _parts(flat, None))
    ranks = np.arange(total) if total <= _FOR_PERCENTILES else np.unique(rng.integers(0, total, _FOR_PERCENTILES))
    found, before, start = [np.zeros(0, np.int64)], 0, 0
    for part, _ in _parts(flat, None):
        here = np.flatnonzero(part > 0)
        found.append(
            start + here[ranks[np.searchsorted(ranks, before) : np.searchsorted(ranks, before + here.size)] - before]
        )
        before, start = before + here.size, start + part.size
    return np.concatenate(found)


def foreground_sample(
    channel: NDArray[Any], foreground: NDArray[np.int64], chosen: NDArray[np.int64]
) -> tuple[float, ...]:
    """Values of a channel at some of the foreground's positions; what is not finite becomes 0."""
    values = channel.reshape(-1, order="F")[foreground[chosen]].astype(np.float64)
    return tuple(_short(value) for value in np.nan_to_num(values, posinf=0.0, neginf=0.0))


def choose_sample(foreground: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Which of the foreground's positions are kept, the same for every channel."""
    if foreground.size <= SAMPLE_SIZE:
        return np.arange(foreground.size)
    return np.sort(rng.choice(foreground.size, SAMPLE_SIZE, replace=False))


def _parts(flat: NDArray[Any], other: NDArray[Any] | None) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None]]:
    for start in range(0, flat.size, _SLAB):
        part = slice(start, start + _SLAB)
        yield flat[part], None if other is None else other[part]


def _add_by_label(sums: dict[int, list[float]], labels: NDArray[Any], values: NDArray[Any]) -> None:
    if not labels.size:
        return
    totals = np.bincount(labels, weights=values.astype(np.float64))
    for value in np.flatnonzero(counts := np.bincount(labels)):
        held = sums.setdefault(int(value), [0.0, 0.0])
        held[0], held[1] = held[0] + float(totals[value]), held[1] + float(counts[value])


def _is_finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are finite in float32, in which scans are read."""
    with np.errstate(over="ignore"):
        finite: NDArray[np.bool_] = np.isfinite(values.astype(np.float32, copy=False))
    return finite


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    finite: NDArray[Any] = values[_is_finite(values)]
    return finite


def _short(value: float) -> float:
    """Seven significant digits are what float32 holds."""
    return float(f"{value:.7g}")
