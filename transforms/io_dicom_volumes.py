"""Several whole volumes in one series: how many, and how they differ. Part of `transforms.io_dicom`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transforms.io_dicom_slices import Slice

_NAMED = 6
#: A group with less than this share of the slices of the largest is no volume (perhaps a slice was taken again), unless
#: it is an even stack of at least this many.
_SHARE, _FEWEST = 0.5, 3
#: Positions nearer than this are one, mm.
_SAME_MM = 0.01

_Gaps = Callable[[Sequence[Slice], NDArray[np.float64]], Iterable[object]]
_Groups = Mapping[tuple[str, ...], Sequence[Slice]]


def volumes(path: Path, slices: Sequence[Slice], normal: NDArray[np.float64], gaps: _Gaps) -> str:
    """What to say if slices are several whole volumes of one place, such as the echoes of a scan.

    Args:
        path: the file or the folder.
        slices: of one series and orientation, sorted along the normal.
        normal: of their plane.
        gaps: names what is uneven in a stack.

    Returns:
        Words that follow the name of the path; empty if the slices are not several volumes.
    """
    for may_have_gaps in (False, True):
        for names, groups in _groupings(slices):
            if _are_volumes(list(groups.values()), normal, gaps, may_have_gaps):
                return _words(path, names, groups)
    at = Counter(round(float(of.origin @ normal) / _SAME_MM) for of in slices)
    times = set(at.values())
    copies = len({of.instance for of in slices}) < len(slices)
    if not copies and len(times) == 1 and len(at) > 1 and (count := times.pop()) > 1:
        return (
            f"holds {count} slices at each of {len(at)} places, and no attribute says which belong together: "
            "export each volume as a series of its own"
        )
    return ""


def _groupings(slices: Sequence[Slice]) -> Iterator[tuple[tuple[str, ...], _Groups]]:
    """The slices by file, by each attribute that differs among them, and by each pair of these."""
    if any(of.frame is not None for of in slices) and len({of.path for of in slices}) > 1:
        yield (), _grouped(slices, lambda of: (of.path.name,))
    names = list(dict.fromkeys(name for of in slices for name in of.volume_attributes))
    several = [
        name for name in names if 1 < len({of.volume_attributes.get(name) for of in slices}) <= max(2, len(slices) / 2)
    ]
    for count in (1, 2):
        for chosen in combinations(several, count):
            yield chosen, _grouped(slices, partial(_values_of, chosen))


def _values_of(names: Sequence[str], of: Slice) -> tuple[str, ...]:
    return tuple(of.volume_attributes.get(name, "none") for name in names)


def _grouped(slices: Sequence[Slice], key: Callable[[Slice], tuple[str, ...]]) -> dict[tuple[str, ...], list[Slice]]:
    groups: dict[tuple[str, ...], list[Slice]] = {}
    for of in slices:
        groups.setdefault(key(of), []).append(of)
    return groups


def _are_volumes(
    groups: Sequence[Sequence[Slice]], normal: NDArray[np.float64], gaps: _Gaps, may_have_gaps: bool
) -> bool:
    """Whether each group is a stack, and all lie in one place; the stacks may have gaps if that is allowed."""
    sizes = [len(group) for group in groups]
    alike = min(sizes) >= _SHARE * max(sizes) and (min(sizes) > 1 or max(sizes) == 1)
    if len(groups) < 2 or not (alike or (min(sizes) >= _FEWEST and not may_have_gaps)):
        return False
    heights = [[float(of.origin @ normal) for of in group] for group in groups]
    if max(of[0] for of in heights) > min(of[-1] for of in heights) + _SAME_MM:
        return False  # next to each other: parts of one scan
    if may_have_gaps:
        return all(step > _SAME_MM for of in heights for step in np.diff(of))
    return not any(any(True for _ in gaps(group, normal)) for group in groups)


def _words(path: Path, names: Sequence[str], groups: _Groups) -> str:
    values = [", ".join(value.replace("\\", "/") for value in key) for key in groups]
    listed = "; ".join(values) if len(names) > 1 else ", ".join(values[:_NAMED])
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED and len(names) < 2 else ""
    counted = f"holds {len(groups)} whole volumes"
    if not names:
        return f"{counted}, each in its own file ({listed}{more}): give one file, or move each into its own folder"
    described = f"{counted}, by {' and '.join(names)} ({listed}{more})"
    files = [file for group in groups.values() for file in {of.path for of in group}]
    if path.is_dir() and len(set(files)) == len(files):  # no file has slices of two
        return f"{described}: move the files of each into its own folder"
    return f"{described}, where one scan is wanted: convert it with dcm2niix, which writes each into its own file"
