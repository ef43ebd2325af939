"""What a data set holds, in rows for people: structures, channels, grids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from swin_unetr.doctor.intensities import channels_of
from swin_unetr.survey.facts import FileFacts, Intensities, Survey


@dataclass(frozen=True, kw_only=True)
class StructureRow:
    """A structure over the cases."""

    name: str
    values: tuple[int, ...]
    #: Case id to volume in ml, for the cases that have it.
    volumes_ml: dict[str, float]
    #: Cases in which it was looked for.
    looked_for: int

    @property
    def spread(self) -> tuple[float, float, float] | None:
        """Smallest, median and largest volume in ml."""
        return spread(self.volumes_ml.values())


@dataclass(frozen=True, kw_only=True)
class ChannelRow:
    """A channel over the cases: medians of what each case has."""

    name: str
    all: Intensities
    foreground: Intensities | None


def spread(values: Iterable[float]) -> tuple[float, float, float] | None:
    """Smallest, median and largest."""
    held = sorted(values)
    return (held[0], float(np.median(held)), held[-1]) if held else None


def structures(survey: Survey) -> tuple[StructureRow, ...]:
    """The task's structures, or every label value; values that no structure has come last."""
    held = {
        case.id: {of.value: of.volume_mm3 / 1000 for of in case.label.values} for case in survey.cases if case.label
    }
    found = sorted({value for values in held.values() for value in values})
    targets = [] if survey.task is None else [(target.name, target.labels) for target in survey.task.targets]
    known = {value for _, labels in targets for value in labels}
    rows = [*targets, *((f"label {value}", (value,)) for value in found if value not in known)]
    return tuple(
        StructureRow(
            name=name,
            values=labels,
            looked_for=survey.looked_for(name),
            volumes_ml={
                case: round(sum(values.get(value, 0.0) for value in labels), 4)
                for case, values in held.items()
                if any(value in values for value in labels)
            },
        )
        for name, labels in rows
    )


def channels(survey: Survey) -> tuple[ChannelRow, ...]:
    """The channels of the cases."""
    names = () if survey.task is None else survey.task.channels
    rows = []
    for index in range(max((len(case.channels) for case in survey.cases), default=0)):
        of = [case.channels[index] for case in survey.cases if len(case.channels) > index]
        every = _median([channel.all for channel in of])
        if every is not None:
            name = names[index] if index < len(names) else f"channel {index}"
            rows.append(ChannelRow(name=name, all=every, foreground=_median([channel.foreground for channel in of])))
    return tuple(rows)


def _median(held: Sequence[Intensities | None]) -> Intensities | None:
    known = [of for of in held if of is not None]
    if not known:
        return None
    percentiles = np.median([of.percentiles for of in known], axis=0)
    return Intensities(
        voxels=int(np.median([of.voxels for of in known])),
        low=min(of.low for of in known),
        high=max(of.high for of in known),
        mean=float(np.median([of.mean for of in known])),
        std=float(np.median([of.std for of in known])),
        percentiles=tuple(map(float, percentiles)),
    )


def grids(survey: Survey) -> tuple[tuple[str, str], ...]:
    """Shapes, voxel sizes, orientations and kinds of files, in words."""
    images = [image for case in survey.cases for image in case.images]
    files = [file for case in survey.cases for file in case.files()]
    stored = [channel for case in survey.cases for _, channel in channels_of(case)]
    rows = [
        ("shape", _ranges(images, lambda file: file.shape)),
        ("voxel size, mm", _ranges(images, lambda file: file.spacing_mm)),
        ("orientation", counted(file.orientation for file in images)),
        ("files", counted(file.kind for file in files)),
        ("stored as", counted(file.dtype for file in images)),
    ]
    return tuple(rows) if stored else ()


def counted(words: Iterable[str]) -> str:
    """The most frequent first."""
    counts = Counter(words)
    return ", ".join(f"{word} ({count})" if len(counts) > 1 else word for word, count in counts.most_common(6))


def _ranges(files: Sequence[FileFacts], of: Callable[[FileFacts], Sequence[float]]) -> str:
    """Along each axis: the value, or median and range."""
    parts = []
    for axis in range(3):
        along = spread(of(file)[axis] for file in files)
        if along is None:
            return "none"
        low, middle, high = along
        parts.append(f"{middle:.4g}" if low == high else f"{middle:.4g} ({low:.4g}–{high:.4g})")
    return " × ".join(parts)
