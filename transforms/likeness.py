"""Whether a scan is like those that a model was trained on: by its stored values and its voxel size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_unetr.errors import DataError
from swin_unetr.model_description import ChannelValues, TrainingScans
from swin_unetr.tasks import Task
from transforms.geometry import Volume
from transforms.io import read_stored
from transforms.values import looks_like_labels, not_hounsfield

#: How many training scans are looked at.
_SCANS = 16
#: Voxels along each axis of the sample of a channel.
_SIDE = 64
#: The air of a CT; in no other modality does a whole set of scans have values this low.
_AIR_HU = -500.0
#: Ranges of values, and voxel sizes, that differ by more than this from all training scans are of another kind.
_RANGE_FACTOR, _SPACING_FACTOR = 10.0, 3.0


def describe_scans(images: Sequence[Sequence[Path]], channels: int | None = None) -> TrainingScans | None:
    """What some training scans have in common, for `unlike`.

    Args:
        images: files of each scan. A few scans, evenly spread, are read.
        channels: how many each has. If None, as many as its files hold.

    Returns:
        None if no scan can be read, or their channels differ.
    """
    spacings: list[float] = []
    found: list[list[tuple[float, float]]] = []
    for paths in images[:: max(1, -(-len(images) // _SCANS))]:
        try:
            volume = read_stored(paths, channels)
        except DataError:
            continue
        spacings += volume.geometry.spacing_mm
        found.append([_ends(channel) for channel in volume.array])
    if not found or len({len(channels) for channels in found}) > 1:
        return None
    ends_of = (np.array(of) for of in zip(*found, strict=True))
    return TrainingScans(
        looked_at=len(found),
        spacing_mm=(round(min(spacings), 4), round(max(spacings), 4)),
        channels=tuple(
            ChannelValues(
                lowest=(float(ends[:, 0].min()), float(ends[:, 0].max())),
                highest=(float(ends[:, 1].min()), float(ends[:, 1].max())),
            )
            for ends in ends_of
        ),
    )


def unlike(volume: Volume, task: Task, training: TrainingScans | None) -> tuple[str, ...]:
    """How a scan differs in kind from the scans of a model's training, in words that follow its name.

    Args:
        volume: channels x X x Y x Z as stored.
        task: of the model.
        training: what its scans had in common. If None, the task's modality alone decides.
    """
    known = training.channels if training is not None else ()
    words: list[str] = []
    for index, channel in enumerate(volume.array):
        name = f"channel {task.channels[index]}: " if len(volume.array) > 1 else ""
        ends = _ends(channel)
        values = known[index] if len(known) == len(volume.array) else None
        if (labels := looks_like_labels(channel)) is not None:
            words.append(f"{name}looks like a label map ({labels} different whole values besides 0), not a scan")
        elif values is None:
            if task.modality == "CT" and len(volume.array) == 1 and (why := not_hounsfield(*ends)):
                words.append(f"{why}; is it a CT in Hounsfield units?")
        elif odd := _odd(ends, values):
            words.append(name + odd)
    if training is not None:
        words += _odd_spacing(volume, training)
    return tuple(words)


def _odd(ends: tuple[float, float], known: ChannelValues) -> str | None:
    low, high = ends
    compared = f"values from {low:g} to {high:g} (training scans: {known.lowest[0]:g} to {known.highest[1]:g})"
    if known.lowest[1] < _AIR_HU:
        return f"{compared}; is it a CT in Hounsfield units?" if not_hounsfield(low, high) else None
    widest = known.highest[1] - known.lowest[0]
    narrowest = max(known.highest[0] - known.lowest[1], 0.0)
    width = high - low
    other_scale = width > _RANGE_FACTOR * widest or width * _RANGE_FACTOR < narrowest
    negative = known.lowest[0] >= 0 and -low > width / _RANGE_FACTOR
    return f"{compared}; is it of the same modality and scale?" if other_scale or negative else None


def _odd_spacing(volume: Volume, training: TrainingScans) -> Iterator[str]:
    low, high = training.spacing_mm
    spacing = volume.geometry.spacing_mm
    if min(spacing) * _SPACING_FACTOR < low or max(spacing) > _SPACING_FACTOR * high:
        size = " x ".join(f"{length:.3g}" for length in spacing)
        yield f"voxels of {size} mm (training scans: {low:.3g} to {high:.3g} mm); is the voxel size right?"


def _ends(channel: NDArray[np.generic]) -> tuple[float, float]:
    """Percentiles 0.5 and 99.5 of an even sample of X x Y x Z voxels."""
    steps = tuple(slice(None, None, -(-length // _SIDE)) for length in channel.shape)
    low, high = np.percentile(channel[steps].astype(np.float64), (0.5, 99.5))
    return float(f"{low:.5g}"), float(f"{high:.5g}")
