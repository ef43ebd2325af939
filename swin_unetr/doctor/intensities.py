"""Defects of the intensities: each channel by itself, channels against each other, cases against cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_unetr.doctor.findings import Finding
from swin_unetr.survey.facts import CaseFacts, ChannelFacts, Survey
from swin_unetr.survey.run import look_like_ct
from swin_unetr.tasks import Modality, is_ct
from swin_unetr.words import count
from transforms.values import not_hounsfield

#: What CT scanners store begins at -1024; below is padding.
_LOWEST_HU = -2100.0
#: A channel's values are unlike the others' when its middle or its range is, by this factor.
_SCALE_FACTOR = 30.0
_FEWEST_OTHERS = 3
#: Ranges of intensities with a gap of this factor between them are two scales, and one with this share of the cases is
#: no accident of single scans. The 208 hippocampi: 38 are stored as 0..130, 141 as 0..1700, 29 as 0..500 000.
_SCALE_GAP, _SCALE_SHARE = 3.0, 0.05
#: Exchanged channels fit the other cases better by this much (mean difference of features in robust deviations), and
#: by this factor.
_SWAP_GAIN, _SWAP_FACTOR = 1.0, 2.0
_MOST_CHANNELS = 5


def intensity_findings(survey: Survey) -> Iterator[Finding]:
    """All that is wrong with intensities."""
    for case in survey.cases:
        for index, (path, channel) in enumerate(channels_of(case)):
            yield from _of_channel(path, channel, case, _modality_of(survey, index))
        yield from _same(case)
    yield from _scales(survey)
    yield from _swapped(survey)


def _modality_of(survey: Survey, channel: int) -> Modality:
    """CT for a channel that is to hold Hounsfield units: as its task says, else as most scans look."""
    task = survey.task
    if task is None:
        return "CT" if look_like_ct(survey.cases) else "MR"
    return "CT" if channel < len(task.channels) and is_ct(task, task.channels[channel]) else "MR"


def channels_of(case: CaseFacts) -> Iterator[tuple[Path, ChannelFacts]]:
    """The channels of a case with their files."""
    for image in case.images:
        for channel in image.of_channels:
            yield image.path, channel


def _of_channel(path: Path, channel: ChannelFacts, case: CaseFacts, modality: Modality) -> Iterator[Finding]:
    if channel.not_finite:
        yield Finding("not-finite", count(channel.not_finite, "voxel"), path, case.id)
    if channel.all is None:
        return
    if channel.all.low == channel.all.high:
        yield Finding("constant", f"every voxel is {channel.all.low:g}", path, case.id)
    elif modality == "CT" and (words := not_hounsfield(channel.all.percentiles[0], channel.all.percentiles[-1])):
        yield Finding("not-hounsfield", words, path, case.id)
    elif modality == "CT" and channel.all.low < _LOWEST_HU:
        yield Finding("padding", f"values down to {channel.all.low:g}", path, case.id)


def _same(case: CaseFacts) -> Iterator[Finding]:
    """Channels with the same voxels, and an image that is its label."""
    seen: dict[str, Path] = {}
    for image in case.images:
        if image.voxels_hash in seen:
            words = f"the same voxels as {seen[image.voxels_hash].name}"
            yield Finding("channels-same", words, image.path, case.id)
        seen.setdefault(image.voxels_hash, image.path)
        if case.label is not None and image.voxels_hash == case.label.voxels_hash:
            words = f"the same voxels as the label {case.label.path.name}"
            yield Finding("label-as-image", words, image.path, case.id)
        elif values := [of.label_values for of in image.of_channels if of.label_values is not None]:
            words = f"even areas of whole numbers, {max(values)} different values besides 0"
            yield Finding("label-as-image", words, image.path, case.id)


def _scales(survey: Survey) -> Iterator[Finding]:
    """Channels whose range is unlike that of the same channel in the other cases, which are alike."""
    for index in range(_fewest_channels(survey.cases)):
        held = _varying(survey, index)
        if len(held) <= _FEWEST_OTHERS:
            continue
        ranges = np.log([_range(channel) for _, _, channel in held])
        away = np.abs(ranges - np.median(ranges))
        usual = float(np.percentile(away, 80))
        for place in np.flatnonzero(away > max(np.log(_SCALE_FACTOR), 3 * usual)):
            case, path, channel = held[place]
            words = f"a range of {_range(channel):.3g}, of the others {np.exp(np.median(ranges)):.3g} (median)"
            yield Finding("intensity-outlier", words, path, case.id)


def scale_notes(survey: Survey) -> Iterator[str]:
    """Channels that are stored on several scales, each by many cases: no defect, but good to know of MR.

    A gap between sorted ranges separates two scales. A scale of a few cases alone is an outlier (`intensity_findings`).
    """
    if survey.task is not None and survey.task.modality == "CT":
        return
    for index in range(_fewest_channels(survey.cases)):
        ranges = np.sort([_range(channel) for _, _, channel in _varying(survey, index)])
        scales = np.split(ranges, 1 + np.flatnonzero(ranges[1:] > _SCALE_GAP * ranges[:-1]))
        common = [scale for scale in scales if len(scale) >= max(_FEWEST_OTHERS, _SCALE_SHARE * len(ranges))]
        middles = [float(np.median(scale)) for scale in common]
        if not middles or middles[-1] < _SCALE_FACTOR * middles[0]:
            continue
        name = survey.task.channels[index] if survey.task is not None else f"channel {index}"
        pairs = zip(middles, common, strict=True)
        listed = ", ".join(f"{float(f'{middle:.2g}'):,g} ({count(len(of), 'case')})" for middle, of in pairs)
        what = f"{name}: intensities are on {len(common)} scales, with ranges about {listed}"
        yield f"{what}; normalise each scan by itself"


def _varying(survey: Survey, index: int) -> list[tuple[CaseFacts, Path, ChannelFacts]]:
    """One channel of the cases in which not all its voxels are the same."""
    held = [(case, *list(channels_of(case))[index]) for case in survey.cases if case.channels]
    return [item for item in held if item[2].all is not None and item[2].all.low < item[2].all.high]


def _range(channel: ChannelFacts) -> float:
    assert channel.all is not None
    return max(channel.all.percentiles[-1] - channel.all.percentiles[0], 1e-12)


def _swapped(survey: Survey) -> Iterator[Finding]:
    """Cases whose channels are like those of the others only in another order."""
    held = [case for case in survey.cases if case.usable and all(channel.all for channel in case.channels)]
    count = _fewest_channels(held)
    if not 2 <= count <= _MOST_CHANNELS or len(held) <= _FEWEST_OTHERS:
        return
    values = sorted(set.intersection(*(set(case.channels[0].mean_of_label) for case in held)))
    features = np.array([[_features(channel, values) for channel in case.channels[:count]] for case in held])
    for index, case in enumerate(held):
        others = np.delete(features, index, axis=0)
        middle = np.median(others, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(others - middle), axis=0), 0.1)
        costs = {order: _cost(features[index][list(order)], middle, spread) for order in permutations(range(count))}
        now, best = costs[tuple(range(count))], min(costs, key=lambda order: costs[order])
        if now - costs[best] > _SWAP_GAIN and now > _SWAP_FACTOR * costs[best]:
            names = survey.task.channels if survey.task is not None else ()
            first = next(place for place, other in enumerate(best) if place != other)
            what = f"{names[first]} and {names[best[first]]}" if len(names) == count else f"channels {best}"
            files = [path for path, _ in channels_of(case)]
            yield Finding(
                "channels-swapped", f"{what}: exchanged, they are like those of the others", files[first], case.id
            )


def _cost(mine: NDArray[np.float64], middle: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    return float(np.minimum(np.abs(mine - middle) / spread, 10).mean())


def _features(channel: ChannelFacts, values: Sequence[int]) -> list[float]:
    """Shape of a channel's histogram and the place of each label in it, whatever its scale."""
    of = channel.all
    assert of is not None
    low, middle, high = of.percentiles[1], of.percentiles[2], of.percentiles[3]
    scale = max(of.std, 1e-12)
    shape = [(of.mean - middle) / scale, (high - of.mean) / scale, (of.mean - low) / scale]
    return shape + [(channel.mean_of_label[value] - of.mean) / scale for value in values]


def _fewest_channels(cases: Sequence[CaseFacts]) -> int:
    return min((len(case.channels) for case in cases if case.channels), default=0)
