"""Which slices of a file or a folder make one scan, and what is wrong. Part of `transforms.io_dicom`.

Slices are sorted by their place along the normal of their plane. Nothing is interpolated, and nothing is left out
silently: slices that do not fit an even stack are named, and objects without an image are skipped with a note.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_unetr.datasets.dicom_objects import INDEX, DicomObject, dicom_object, is_dicom
from swin_unetr.datasets.listing import image_suffix, visible
from transforms.geometry import Geometry
from transforms.io_dicom_frames import NotInstalledError, read_headers
from transforms.io_dicom_slices import Slice, read_header
from transforms.io_dicom_volumes import volumes
from transforms.io_itk import TO_RAS, reason
from transforms.note import Note

#: Two slices nearer than this lie in the same place, mm.
_SAME_MM = 0.01
#: How far a slice may lie from its place on an even grid: scanners round positions, some to a tenth of a millimetre.
_UNEVEN_MM, _UNEVEN_SHARE = 0.1, 0.02

#: A file, or the folder, and what is wrong with it, in words that follow its name.
Problem = tuple[Path, str]


@dataclass
class Stack:
    """What a file or a folder holds.

    Attributes:
        path: the file or the folder.
        slices: those of the scan, in order along their normal.
        problems: what keeps them from being one scan.
        notes: what was skipped, or decided.
        objects: what the files without an image hold.
        claimed: bytes of voxels, by the headers.
        held: bytes of the files that should hold them.
    """

    path: Path
    slices: list[Slice] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    objects: list[DicomObject] = field(default_factory=list)
    claimed: int = 0
    held: int = 0

    @property
    def geometry(self) -> Geometry:
        """The grid of the slices."""
        first, last = self.slices[0], self.slices[-1]
        affine = np.eye(4)
        affine[:3, :2] = first.direction[:, :2] * first.spacing
        if len(self.slices) > 1:  # not along the normal: the gantry may be tilted
            affine[:3, 2] = (last.origin - first.origin) / (len(self.slices) - 1)
        elif first.thickness:
            affine[:3, 2] = first.direction[:, 2] * first.thickness[0]
        affine[:3, 3] = first.origin
        return Geometry((*first.size, len(self.slices)), TO_RAS @ affine)


def find_stack(path: Path) -> Stack:
    """The slices of a DICOM file, or of the DICOM files of a folder, that make one scan."""
    stack = Stack(path)
    for file in [path] if path.is_file() else _dicom_files(stack):
        _read(file, stack)
    if not stack.slices:
        if not stack.problems and not stack.objects:
            stack.problems.append((path, "holds no DICOM file"))
        return stack
    stack.slices = _usable(stack)
    stack.slices = list(_of_one_kind(stack))
    if stack.slices:
        _sort(stack)
    return stack


def _dicom_files(stack: Stack) -> Iterator[Path]:
    """The DICOM files of a folder. A file without a suffix that is not DICOM is noted: slices often have no suffix."""
    for path in visible(stack.path):
        if path.is_symlink() and not path.exists():
            stack.problems.append((path, f"is a link that leads nowhere ({os.readlink(path)}): fetch the file"))
        if not path.is_file() or image_suffix(path) is not None or path.name == INDEX:
            continue
        if is_dicom(path):
            yield path
        elif not path.suffix or path.suffix[1:].isdigit():
            stack.notes.append(Note("not-dicom", "is not DICOM; it was left out", path))


def _read(file: Path, stack: Stack) -> None:
    """Add the slices of a file."""
    what = dicom_object(file)
    if not what.is_image:
        stack.objects.append(what)
        stack.notes.append(Note("passed-by", f"is {what.name}, not a slice; it was skipped", file))
        return
    try:
        if what.kind == "frames":
            slices, claimed = read_headers(file)
        else:
            one, claimed = read_header(file)
            slices = [one]
    except NotInstalledError as error:
        stack.problems.append((file, f"is {what.name}, which needs pydicom and highdicom to be read: {error}"))
        return
    except RuntimeError as error:
        stack.problems.append((file, f"cannot be read ({reason(error)}): copy it again or move it out"))
        return
    stack.slices += slices
    stack.claimed += claimed
    stack.held += file.stat().st_size


def _usable(stack: Stack) -> list[Slice]:
    """The slices with a place and a size. Localisers count only if there is nothing else; the others are problems."""
    slices = stack.slices
    only_localisers = all(of.localiser for of in slices)
    usable = []
    for of in slices:
        words = "is a localiser: move it out" if of.localiser and not only_localisers else of.wrong
        if not words:
            usable.append(of)
        elif (of.path, words) not in stack.problems:  # once for a file with many frames
            stack.problems.append((of.path, words))
    return usable


def _of_one_kind(stack: Stack) -> Iterator[Slice]:
    """The slices of the largest series in the orientation and size of most of them; the others are problems."""
    series = Counter(of.series for of in stack.slices)
    main = max(series, key=lambda uid: (series[uid], uid), default="")
    planes: list[list[Slice]] = []
    for of in stack.slices:
        if of.series != main:
            words = f"is of another series ({of.series[-16:]}) than {series[main]} files here: one folder each"
            if (of.path, words) not in stack.problems:  # once for a file with many frames
                stack.problems.append((of.path, words))
            continue
        for plane in planes:
            if _same_plane(plane[0], of):
                plane.append(of)
                break
        else:
            planes.append([of])
    planes.sort(key=len, reverse=True)
    for plane in planes[1:]:
        for of in plane:
            like = planes[0][0].name
            remedy = "move it out" if of.frame is None else "convert the file with dcm2niix, which writes one per scan"
            words = f"{of.of_frame}has another orientation, size or pixel spacing than {like}: {remedy}"
            stack.problems.append((of.path, words))
    yield from planes[0] if planes else ()


def _same_plane(one: Slice, other: Slice) -> bool:
    """Whether two slices have the same size, direction and pixels, to a fraction of the tolerance of a stack."""
    if one.size != other.size:
        return False
    apart = (one.direction[:, :2] * one.spacing - other.direction[:, :2] * other.spacing) @ np.subtract(one.size, 1)
    turned = np.abs(one.direction - other.direction).max()
    return bool(np.linalg.norm(apart) <= _UNEVEN_MM and turned <= _UNEVEN_SHARE)


def _sort(stack: Stack) -> None:
    """Bring the slices into order, and find what is uneven."""
    normal = stack.slices[0].direction[:, 2]
    slices = stack.slices = sort_along(stack.slices, normal)
    uneven = list(gaps(slices, normal))
    if uneven and (several := volumes(stack.path, slices, normal, gaps)):
        stack.problems.append((stack.path, several))
    else:
        stack.problems += uneven
    if len(slices) > 1:
        return
    if slices[0].thickness is None:
        words = "is a single slice that gives no SliceThickness: give the other slices, or export it again"
        stack.problems.append((slices[0].path, words))
        return
    size, given_by = slices[0].thickness
    stack.notes.append(
        Note("slice-thickness", f"is a single slice; its third axis is {size:.4g} mm, by its {given_by}")
    )


def sort_along(slices: Sequence[Slice], normal: NDArray[np.float64]) -> list[Slice]:
    """Slices in the order of their places along a normal."""
    return sorted(slices, key=lambda of: float(of.origin @ normal))


def gaps(slices: Sequence[Slice], normal: NDArray[np.float64]) -> Iterator[Problem]:
    """Doubled, missing, unevenly spaced or shifted slices of a stack that is sorted along its normal."""
    steps = [(one, other, float((other.origin - one.origin) @ normal)) for one, other in pairwise(slices)]
    for one, other, gap in steps:
        if gap <= _SAME_MM:
            where = f"(at {one.origin @ normal:.2f} mm)"
            yield other.path, f"{other.of_frame}lies where {one.name} does {where}: remove one"
    steps = [step for step in steps if step[2] > _SAME_MM]
    if not steps:
        return
    usual = sorted(gap for _, _, gap in steps)[(len(steps) - 1) // 2]
    slopes = np.array([(other.origin - one.origin) / gap for one, other, gap in steps])
    slope = np.median(slopes, axis=0)
    tolerance = max(_UNEVEN_MM, _UNEVEN_SHARE * usual)
    for (one, other, gap), own in zip(steps, slopes, strict=True):
        number = round(gap / usual)
        lies = f"{other.of_frame}lies {gap:.4g} mm from {one.name}, others {usual:.4g} mm"
        if number > 1 and abs(gap - number * usual) <= tolerance * number:
            yield other.path, f"{lies}: {number - 1} missing between them"
        elif abs(gap - usual) > tolerance:
            yield other.path, f"{lies}: spacing is uneven"
        if (shift := float(np.linalg.norm(own - slope)) * gap) > tolerance:
            yield other.path, f"{other.of_frame}is shifted sideways by {shift:.3g} mm from {one.name}"
