"""DICOM files that hold one slice each, through SimpleITK's GDCM. Part of `transforms.io_dicom`.

Place, size and scaling of a slice are taken from its own header, not from GDCM: GDCM assumes a size of 1 mm and an
origin of 0 if the header gives none, and inverts the grey values of MONOCHROME1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses
from numpy.typing import NDArray

from swin_unetr.errors import DataError
from transforms.io_itk import reason

_READER = "GDCMImageIO"
#: Kinds of scan whose values have a unit, so that they mean the same however they are displayed (HU, Bq/ml).
MEASURED = ("CT", "PT")
#: Attributes that distinguish volumes of one series, the most specific first. AcquisitionTime and similar ones often
#: differ from slice to slice, and do not distinguish volumes then.
VOLUME_ATTRIBUTES: dict[str, str] = {
    "EchoTime": "0018|0081",
    "EchoNumbers": "0018|0086",
    "TemporalPositionIdentifier": "0020|0100",
    "TriggerTime": "0018|1060",
    "DiffusionBValue": "0018|9087",
    "InversionTime": "0018|0082",
    "FlipAngle": "0018|1314",
    "RepetitionTime": "0018|0080",
    "ImageType": "0008|0008",
    "KVP": "0018|0060",
    "ConvolutionKernel": "0018|1210",
    "SliceThickness": "0018|0050",
    "AcquisitionNumber": "0020|0012",
    "FrameReferenceTime": "0054|1300",
    "AcquisitionDateTime": "0008|002a",
    "AcquisitionTime": "0008|0032",
    "ContentTime": "0008|0033",
}
_TAGS = {
    "SamplesPerPixel": "0028|0002",
    "PhotometricInterpretation": "0028|0004",
    "NumberOfFrames": "0028|0008",
    "PixelSpacing": "0028|0030",
    "ImagerPixelSpacing": "0018|1164",
    "SpacingBetweenSlices": "0018|0088",
    "BitsStored": "0028|0101",
    "PixelRepresentation": "0028|0103",
    "RescaleIntercept": "0028|1052",
    "RescaleSlope": "0028|1053",
    "Modality": "0008|0060",
    "SOPInstanceUID": "0008|0018",
    "SeriesInstanceUID": "0020|000e",
    "ImagePositionPatient": "0020|0032",
    "ImageOrientationPatient": "0020|0037",
    **VOLUME_ATTRIBUTES,
}
#: How far the directions of rows and columns may be from a right angle (cosine).
_NOT_RIGHT = 1e-3


@dataclass(frozen=True, eq=False)
class Slice:
    """One picture and its place, from the header of a file or of one of its frames.

    Attributes:
        path: the file.
        frame: number of the frame, from 1. None if the file holds one picture.
        instance: UID of the picture; copies of a file share it.
        series: UID of the series.
        localiser: whether its header says that it is one.
        wrong: why it cannot be used, in words that follow its name; empty if it can.
        size: voxels along X and Y.
        spacing: millimetres along X and Y.
        origin: of the first voxel, LPS millimetres.
        direction: columns are X, Y and the normal.
        thickness: millimetres, and the attribute that gives them. None if no attribute does.
        dtype: of the values.
        volume_attributes: attributes that may distinguish the volumes of a series.
    """

    path: Path
    frame: int | None
    instance: str
    series: str
    localiser: bool
    wrong: str
    size: tuple[int, int]
    spacing: NDArray[np.float64]
    origin: NDArray[np.float64]
    direction: NDArray[np.float64]
    thickness: tuple[float, str] | None
    dtype: np.dtype[Any]
    volume_attributes: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of the file, and the number of the frame."""
        return f"{self.path.name} {self.of_frame}".strip()

    @property
    def of_frame(self) -> str:
        """Words for the frame, to put after the name of the file; empty if the file is the slice."""
        return "" if self.frame is None else f"frame {self.frame} "


#: What to do about a slice that cannot be placed or measured.
EXPORT = "export it again from the scanner or the archive"


def numbers(text: Any, count: int) -> NDArray[np.float64] | None:
    """`count` finite numbers of an attribute. None if it does not hold that many."""
    parts = text.split("\\") if isinstance(text, str) else [] if text is None else list(np.atleast_1d(text))
    try:
        values = np.array([float(part) for part in parts])
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def number(value: Any, otherwise: float) -> float:
    """The number in an attribute, or `otherwise` if it holds none."""
    found = numbers(value, 1)
    return otherwise if found is None else float(found[0])


def place(
    get: Callable[[str], Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], str]:
    """Spacing along X and Y, origin and direction of a picture from its attributes, and what is wrong with them."""
    position = numbers(get("ImagePositionPatient"), 3)
    axes = numbers(get("ImageOrientationPatient"), 6)
    spacing = numbers(get("PixelSpacing"), 2)
    wrong = ""
    if position is None or axes is None:
        lacks = "ImagePositionPatient" if position is None else "ImageOrientationPatient"
        wrong = f"gives no place in the patient (no {lacks}): {EXPORT}, or leave it out"
    elif spacing is None or spacing.min() <= 0:
        detector = " (ImagerPixelSpacing is that at the detector)" if get("ImagerPixelSpacing") else ""
        wrong = f"gives no size of its pixels (no PixelSpacing){detector}: {EXPORT}"
    direction = np.eye(3)
    if axes is not None:
        x, y = axes[:3], axes[3:]
        lengths = np.linalg.norm(x), np.linalg.norm(y)
        if min(lengths) < 0.5 or abs(x @ y) > _NOT_RIGHT * lengths[0] * lengths[1]:
            wrong = wrong or f"has rows and columns that are not at right angles (ImageOrientationPatient): {EXPORT}"
        else:
            x, y = x / lengths[0], y / lengths[1]
            direction = np.stack([x, y, np.cross(x, y)], axis=1)
    return (
        np.ones(2) if spacing is None else spacing[::-1].copy(),
        np.zeros(3) if position is None else position,
        direction,
        wrong,
    )


def thickness(get: Callable[[str], Any]) -> tuple[float, str] | None:
    """Thickness of a slice in mm, and the attribute that gives it."""
    for name in ("SliceThickness", "SpacingBetweenSlices"):
        if (value := number(get(name), 0)) > 0:
            return value, name
    return None


def colour(get: Callable[[str], Any]) -> str:
    """What is wrong with a colour picture, in words that follow its name; empty if it is not one."""
    several = number(get("SamplesPerPixel"), 1) > 1
    return "is a colour picture, not a slice of a scan: leave it out" if several else ""


def wrong_values(get: Callable[[str], Any]) -> str:
    """Why the values of a picture cannot be those of a scan, in words that follow its name; empty if they can."""
    if is_inverted(get) and str(get("Modality") or "").strip() not in MEASURED:
        return (
            "has inverted grey values (MONOCHROME1), and its kind of scan has no unit that shows which values are "
            f"bright: {EXPORT} as MONOCHROME2"
        )
    if number(get("RescaleSlope"), 1) == 0:
        return f"scales its values by 0 (RescaleSlope): {EXPORT}"
    return ""


def is_inverted(get: Callable[[str], Any]) -> bool:
    """Whether a low value is to be displayed bright."""
    return str(get("PhotometricInterpretation") or "").strip() == "MONOCHROME1"


def read_header(path: Path) -> tuple[Slice, int]:
    """A slice from the header of its file, and the bytes of voxels that it claims.

    Raises:
        RuntimeError: GDCM cannot read it.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READER)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        raise RuntimeError(f"{reader.GetDimension()} dimensions")
    get = _attributes(reader)
    x, y, frames = reader.GetSize()
    dtype = sitk.GetArrayViewFromImage(sitk.Image([1] * 3, reader.GetPixelIDValue())).dtype
    spacing, origin, direction, misplaced = place(get)
    localiser = "LOCALIZER" in str(get("ImageType") or "").upper().split("\\")
    several = f"holds {frames} frames without a place for each: {EXPORT} as single slices" if frames > 1 else ""
    found = Slice(
        path=path,
        frame=None,
        instance=str(get("SOPInstanceUID") or path),
        series=str(get("SeriesInstanceUID") or ""),
        localiser=localiser,
        wrong=colour(get) or several or misplaced or wrong_values(get),
        size=(x, y),
        spacing=spacing,
        origin=origin,
        direction=direction,
        thickness=thickness(get),
        dtype=dtype,
        volume_attributes={name: value for name in VOLUME_ATTRIBUTES if (value := get(name))},
    )
    return found, x * y * frames * dtype.itemsize


def read_voxels(of: Slice) -> NDArray[Any]:
    """The values of a slice, X x Y, by the slope and the intercept of its own header.

    Raises:
        DataError: it cannot be decoded.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READER)
    reader.SetFileName(str(of.path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        words = f"is damaged or encoded in a way that GDCM does not know ({reason(error)})"
        raise DataError(f"{of.path}: {words}; copy it again") from error
    values: NDArray[Any] = sitk.GetArrayFromImage(image)[0].T
    get = _attributes(reader)
    return _not_inverted(values, get) if is_inverted(get) else values


def _not_inverted(values: NDArray[Any], get: Callable[[str], Any]) -> NDArray[Any]:
    """Undo GDCM's inversion of the stored values of MONOCHROME1, which came before slope and intercept."""
    slope, intercept = number(get("RescaleSlope"), 1), number(get("RescaleIntercept"), 0)
    # GDCM writes lowest + highest - stored.
    both_ends = -1 if number(get("PixelRepresentation"), 0) else 2 ** int(number(get("BitsStored"), 16)) - 1
    stored = both_ends - np.rint((values.astype(np.float64) - intercept) / slope)
    return (stored * slope + intercept).astype(values.dtype)


def _attributes(reader: sitk.ImageFileReader) -> Callable[[str], str | None]:
    """The attributes of a file that was read, by their keywords; None for a missing one."""

    def get(keyword: str) -> str | None:
        tag = _TAGS[keyword]
        return (reader.GetMetaData(tag).strip("\0 ") or None) if reader.HasMetaDataKey(tag) else None

    return get
