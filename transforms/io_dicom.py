"""DICOM: a folder with a series, or a single file, is read exactly or refused with its cause. Part of `transforms.io`.

`io_dicom_slices` reads files with one slice (SimpleITK), `io_dicom_frames` those with many (the extra "dicom"),
`io_dicom_stack` finds the slices that make one scan, and `io_dicom_volumes` separates several volumes of a series.
The third axis leads from the first slice to the last, so that a tilted gantry stays a shear in the affine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.geometry import Volume
from transforms.io_dicom_frames import read_frames
from transforms.io_dicom_slices import Slice, read_voxels
from transforms.io_dicom_stack import Problem, Stack, find_stack
from transforms.size_check import refuse_impossible_size
from transforms.verdict import RefusedError, Verdict

#: How many files are named in an error, and how many with the same fault are summed up in one line.
_NAMED, _SAME = 8, 3
#: Codes of the doctor's findings: files that do not make one scan; what holds no image, the most specific first.
_UNEVEN = "dicom-series"
_CODES = {"segmentation": "segmentation", "contours": "contours", "other object": "other-object"}
_REMEDIES = {
    "segmentation": "give the slices that it was drawn on; for labels, convert it first (dcmqi's segimage2itkimage)",
    "contours": "give the slices that they were drawn on; for labels, convert them first (plastimatch convert)",
    "other-object": "give the folder with the slices of a scan",
}


def dicom_verdict(path: Path) -> Verdict:
    """How a DICOM file, or a folder with a series, is read.

    Raises:
        RefusedError: no file holds an image, with the code of what they hold; or the files do not make one scan
            (`stack_problems`), in one line that names them and the cause.
        DataError: the headers claim more voxels than the files can hold.
    """
    stack = find_stack(path)
    _refuse(stack)
    return Verdict(
        path=path,
        kind="scan",
        geometry=stack.geometry,
        channels=1,
        dtype=_dtype(stack.slices),
        notes=tuple(stack.notes),
    )


def stack_problems(path: Path) -> tuple[Problem, ...]:
    """See `transforms.io.dicom_problems`."""
    return tuple(find_stack(path).problems)


def read_dicom(path: Path) -> Volume:
    """A series, 1 x X x Y x Z in the units of its rescale slope and intercept (HU for CT).

    Args:
        path: a folder with the files of one series, or a file with one or many slices.

    Raises:
        DataError: as `dicom_verdict`, and for files that are damaged.
    """
    stack = find_stack(path)
    _refuse(stack)
    geometry = stack.geometry
    array = np.empty((1, *geometry.shape), _dtype(stack.slices), order="F")
    for index, values in _values(stack.slices):
        array[0, :, :, index] = values
    return Volume(array, geometry, tuple(stack.notes))


def _values(slices: Sequence[Slice]) -> Iterator[tuple[int, NDArray[Any]]]:
    """The values of each slice, and its place in the stack."""
    framed: dict[Path, list[tuple[int, int]]] = {}
    for index, of in enumerate(slices):
        if of.frame is None:
            yield index, read_voxels(of)
        else:
            framed.setdefault(of.path, []).append((index, of.frame))
    for path, places in framed.items():
        places.sort(key=lambda place: place[1])  # as they lie in the file
        values = read_frames(path, [frame for _, frame in places])
        yield from zip((index for index, _ in places), values, strict=True)


def _dtype(slices: Sequence[Slice]) -> np.dtype[Any]:
    return np.result_type(*(of.dtype for of in slices))


def _other_kind(stack: Stack) -> str:
    """Code of what a file or folder without an image holds; empty if there is an image, or a fault."""
    kinds = {what.kind for what in stack.objects}
    if not kinds or stack.slices or stack.problems:
        return ""
    return next(code for kind, code in _CODES.items() if kind in kinds)


def _no_scan(stack: Stack, code: str) -> str:
    """What a file or folder without an image holds, and what to give instead, in words that follow its name."""
    names = list(dict.fromkeys(what.name for what in stack.objects))
    holds = "is" if stack.path.is_file() else "holds"
    return f"{holds} {' and '.join(names)}, not a scan; {_REMEDIES[code]}"


def _refuse(stack: Stack) -> None:
    """Refuse what is not one sound scan.

    Raises:
        RefusedError: in one line that fits the cause.
        DataError: the headers claim more voxels than the files can hold.
    """
    if code := _other_kind(stack):
        raise RefusedError(f"{stack.path}: {_no_scan(stack, code)}", code)
    refuse_impossible_size(stack.path, stack.claimed, stack.held)
    if not stack.problems:
        return
    problems = list(_joined(stack.problems))
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    if all(path == stack.path for path, _ in problems):
        raise RefusedError(f"{stack.path}: {'; '.join(words for _, words in problems[:_NAMED])}{more}", _UNEVEN)
    named = "; ".join(words if path == stack.path else f"{path.name} {words}" for path, words in problems[:_NAMED])
    raise RefusedError(f"{stack.path}: its DICOM slices do not make one scan: {named}{more}", _UNEVEN)


def _joined(problems: Sequence[Problem]) -> Iterator[Problem]:
    """The problems, those of many files with the same words once."""
    counts = Counter(words for _, words in problems)
    seen = set()
    for path, words in problems:
        if counts[words] < _SAME:
            yield path, words
        elif words not in seen:
            seen.add(words)
            yield path, f"{words} (the same for {counts[words] - 1} more files)"
