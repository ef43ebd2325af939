"""DICOM series: a folder with one file per slice, through SimpleITK's GDCM. Part of `transforms.io`.

Slices are sorted by their place along the normal of their plane, and each is read with its own rescale slope and
intercept. The third axis leads from the first slice to the last, so that a tilted gantry stays a shear in the affine.
Nothing is interpolated or left out: what is no even stack of slices is named, file by file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses
from numpy.typing import NDArray

from swin_unetr.datasets.listing import image_suffix, is_dicom, visible
from swin_unetr.errors import DataError
from transforms.claims import refuse_impossible_size
from transforms.geometry import Geometry, Volume
from transforms.io_itk import TO_RAS, reason

_READER = "GDCMImageIO"
#: Tags: Image Type, Series Instance UID, Image Position (Patient).
_TYPE, _SERIES, _POSITION = "0008|0008", "0020|000e", "0020|0032"
#: The index of the discs that hold DICOM files; no image.
_INDEX = "DICOMDIR"
#: Two slices nearer than this lie in the same place, mm.
_SAME_MM = 0.01
#: How far a slice may lie from its place on an even grid: scanners round positions, some to a tenth of a millimetre.
_UNEVEN_MM, _UNEVEN_SHARE = 0.1, 0.02
#: So many files are named in an error.
_NAMED = 8

#: A file, and what is wrong with it, in words that follow its name.
Problem = tuple[Path, str]


@dataclass(frozen=True, eq=False)
class _Slice:
    path: Path
    series: str
    #: Whether it says of itself that it is a localiser, or has no place in the patient.
    localiser: bool
    #: Voxels and millimetres along X, Y and across.
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    #: Of the first voxel, LPS millimetres; columns of `direction` are X, Y and the normal.
    origin: NDArray[np.float64]
    direction: NDArray[np.float64]
    dtype: np.dtype[Any]

    @property
    def plane(self) -> Hashable:
        """What all slices of a series share, rounded, but for where they lie."""
        return self.size, tuple(np.round(self.spacing[:2], 4)), tuple(np.round(self.direction.ravel(), 3) + 0.0)


def stack_problems(folder: Path) -> tuple[Problem, ...]:
    """See `transforms.io.dicom_problems`."""
    return _stack(folder)[1]


def dicom_header(folder: Path) -> tuple[Geometry, int, np.dtype[Any]]:
    """Grid, channels and type of a series, from the headers of its files.

    Raises:
        DataError: names the files that do not fit (`stack_problems`).
    """
    slices = _sound(folder)
    return _geometry(slices), 1, np.result_type(*(of.dtype for of in slices))


def read_dicom(folder: Path) -> Volume:
    """The series of a folder, 1 x X x Y x Z in the units of its rescale slope and intercept (HU for CT).

    Raises:
        DataError: names the files that do not fit (`stack_problems`), or that are damaged.
    """
    slices = _sound(folder)
    geometry = _geometry(slices)
    dtype = np.result_type(*(of.dtype for of in slices))
    refuse_impossible_size(
        folder, math.prod(geometry.shape) * dtype.itemsize, sum(of.path.stat().st_size for of in slices)
    )
    array = np.empty((1, *geometry.shape), dtype, order="F")
    frames = slices[0].size[2]
    for index, of in enumerate(slices):
        try:
            image = sitk.ReadImage(str(of.path), imageIO=_READER)
        except RuntimeError as error:
            raise DataError(f"{of.path}: is damaged ({reason(error)}); copy it again") from error
        voxels = sitk.GetArrayViewFromImage(image)
        if voxels.ndim != 3:
            raise DataError(f"{of.path}: is a colour picture, not a slice of a scan; move it out of the folder")
        array[0, :, :, index * frames : (index + 1) * frames] = voxels.transpose(2, 1, 0)
    return Volume(array, geometry)


def _sound(folder: Path) -> Sequence[_Slice]:
    slices, problems = _stack(folder)
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        named = "; ".join(f"{path.name} {words}" for path, words in problems[:_NAMED])
        raise DataError(f"{folder}: is no even stack of DICOM slices: {named}{more}")
    return slices


def _stack(folder: Path) -> tuple[Sequence[_Slice], tuple[Problem, ...]]:
    """The slices that belong together, in order, and what is wrong."""
    files = [path for path in visible(folder) if path.is_file() and image_suffix(path) is None and path.name != _INDEX]
    slices: list[_Slice] = []
    problems: list[Problem] = []
    for path in filter(is_dicom, files):
        try:
            slices.append(_slice(path))
        except RuntimeError as error:
            problems.append((path, f"cannot be read ({reason(error)}): copy it again or move it out"))
    if not slices and not problems:
        return (), ((folder, "holds no DICOM file"),)
    kept = slices
    if not all(of.localiser for of in slices):
        kept = [of for of in slices if not of.localiser]
        problems += [(of.path, "is a localiser: move it out") for of in slices if of.localiser]
    kept = list(_of_one_kind(kept, problems))
    if len(kept) > 1 and kept[0].size[2] > 1:
        problems += [(of.path, "is a whole volume beside others: one folder per volume") for of in kept[1:]]
        return kept[:1], tuple(problems)
    if kept:
        normal = kept[0].direction[:, 2]
        kept.sort(key=lambda of: float(of.origin @ normal))
        problems += _gaps(kept, normal)
    return kept, tuple(problems)


def _slice(path: Path) -> _Slice:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READER)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        raise RuntimeError(f"{reader.GetDimension()} dimensions")
    tags = {
        key: reader.GetMetaData(key).strip("\0 ") for key in (_TYPE, _SERIES, _POSITION) if reader.HasMetaDataKey(key)
    }
    frames = reader.GetSize()[2]
    return _Slice(
        path=path,
        series=tags.get(_SERIES, ""),
        localiser="LOCALIZER" in tags.get(_TYPE, "").upper().split("\\") or (frames == 1 and not tags.get(_POSITION)),
        size=tuple(reader.GetSize()),
        spacing=tuple(reader.GetSpacing()),
        origin=np.array(reader.GetOrigin()),
        direction=np.reshape(reader.GetDirection(), (3, 3)),
        dtype=sitk.GetArrayViewFromImage(sitk.Image([1] * 3, reader.GetPixelIDValue())).dtype,
    )


def _of_one_kind(slices: Sequence[_Slice], problems: list[Problem]) -> Iterator[_Slice]:
    """The slices of the largest series in the orientation and size of most of them; the others are problems."""
    series = Counter(of.series for of in slices)
    main = max(series, key=lambda uid: (series[uid], uid), default="")
    planes = Counter(of.plane for of in slices if of.series == main)
    plane = max(planes, key=lambda key: planes[key], default=None)
    for of in slices:
        if of.series != main:
            problems.append(
                (of.path, f"is of another series ({of.series[-16:]}) than {series[main]} files here: one folder each")
            )
        elif of.plane != plane:
            one = next(other for other in slices if other.series == main and other.plane == plane)
            problems.append(
                (of.path, f"has another orientation, size or pixel spacing than {one.path.name}: move it out")
            )
        else:
            yield of


def _gaps(slices: Sequence[_Slice], normal: NDArray[np.float64]) -> Iterator[Problem]:
    """Slices that are doubled, missing, unevenly spaced or shifted, of a stack that is sorted along its normal."""
    steps = [(one, other, float((other.origin - one.origin) @ normal)) for one, other in pairwise(slices)]
    for one, other, gap in steps:
        if gap <= _SAME_MM:
            yield other.path, f"lies where {one.path.name} does (at {one.origin @ normal:.2f} mm): remove one"
    steps = [step for step in steps if step[2] > _SAME_MM]
    if not steps:
        return
    usual = sorted(gap for _, _, gap in steps)[(len(steps) - 1) // 2]
    slopes = np.array([(other.origin - one.origin) / gap for one, other, gap in steps])
    slope = np.median(slopes, axis=0)
    tolerance = max(_UNEVEN_MM, _UNEVEN_SHARE * usual)
    for (one, other, gap), own in zip(steps, slopes, strict=True):
        number = round(gap / usual)
        if number > 1 and abs(gap - number * usual) <= tolerance * number:
            yield (
                other.path,
                f"lies {gap:.4g} mm from {one.path.name}, others {usual:.4g} mm: {number - 1} missing between them",
            )
        elif abs(gap - usual) > tolerance:
            yield other.path, f"lies {gap:.4g} mm from {one.path.name}, others {usual:.4g} mm: spacing is uneven"
        if (shift := float(np.linalg.norm(own - slope)) * gap) > tolerance:
            yield other.path, f"is shifted sideways by {shift:.3g} mm against {one.path.name}"


def _geometry(slices: Sequence[_Slice]) -> Geometry:
    first, last = slices[0], slices[-1]
    affine = np.eye(4)
    affine[:3, :3] = first.direction * first.spacing
    if len(slices) > 1:
        affine[:3, 2] = (last.origin - first.origin) / (len(slices) - 1)
    affine[:3, 3] = first.origin
    x, y, frames = first.size
    return Geometry((x, y, frames * len(slices)), TO_RAS @ affine)
