"""DICOM files that hold many frames, each with its own place (Enhanced multi-frame). Part of `transforms.io_dicom`.

The place of a frame is in its functional groups, read with pydicom; its values come from highdicom, which scales each
frame by its own slope and intercept. Both are the extra "dicom"; without them such a file is refused.

highdicom's own volumes are not used: they drop a tilt below 2.5 degrees, and cannot join frames of several files.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.errors import DataError
from transforms.io_dicom_slices import EXPORT, VOLUME_ATTRIBUTES, Slice, colour, number, place, thickness, wrong_values

INSTALL = "pip install 'swin-unetr[dicom]'"
#: Attributes that distinguish the frames of several volumes, the most specific first, before `VOLUME_ATTRIBUTES`.
_FRAME_ATTRIBUTES = (
    "EffectiveEchoTime",
    "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
    "NominalCardiacTriggerDelayTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "InversionTimes",
    "FrameType",
    "ComplexImageComponent",
    "StackID",
    "FrameAcquisitionNumber",
    "FrameReferenceDateTime",
    "FrameAcquisitionDateTime",
)
_PLACES = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
_INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64)
#: How many frames are decoded together.
_AT_ONCE = 16
#: How many characters of a library's error are quoted.
_QUOTED = 200


class NotInstalledError(Exception):
    """The libraries that read several frames from a file are missing."""


def read_headers(path: Path) -> tuple[list[Slice], int]:
    """The frames of a file as they are stored, and the bytes of voxels that it claims.

    Raises:
        NotInstalledError: pydicom or highdicom is missing.
        RuntimeError: the file is damaged.
    """
    try:
        import pydicom
    except ImportError as error:
        raise NotInstalledError(INSTALL) from error
    if find_spec("highdicom") is None:  # `read_frames` needs it; its import takes seconds
        raise NotInstalledError(INSTALL)
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        return _frames(path, header)
    except Exception as error:  # damage can raise any error in pydicom
        raise RuntimeError(_last_line(error)) from error


def read_frames(path: Path, frames: Sequence[int]) -> Iterator[NDArray[np.float64]]:
    """The values of some frames (numbers from 1), X x Y, by the slope and the intercept of each.

    Raises:
        DataError: the file cannot be decoded.
    """
    import highdicom
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
        _drop_private_dimensions(dataset)
        image = highdicom.Image.from_dataset(dataset, copy=False)
        for start in range(0, len(frames), _AT_ONCE):
            values = image.get_frames(
                frames[start : start + _AT_ONCE],
                dtype=np.float64,
                apply_real_world_transform=False,
                apply_voi_transform=False,
                apply_presentation_lut=False,
            )
            yield from values.transpose(0, 2, 1)
    except Exception as error:  # as above
        words = f"is damaged or encoded in a way that pydicom does not know ({_last_line(error)})"
        raise DataError(
            f"{path}: {words}; copy it again, or store it uncompressed (dcmdjpeg, gdcmconv --raw)"
        ) from error


def _frames(path: Path, header: Any) -> tuple[list[Slice], int]:
    size = (int(header.Columns), int(header.Rows))
    count = int(number(header.get("NumberOfFrames"), 1))
    shared = next(iter(header.get("SharedFunctionalGroupsSequence") or ()), None)
    groups = list(header.get("PerFrameFunctionalGroupsSequence") or ())
    claimed = size[0] * size[1] * count * int(number(header.get("BitsAllocated"), 64)) // 8
    wrong = colour(header.get)
    if len(groups) != count:
        cut = f"describes {len(groups)} of its {count} frames; it is damaged: copy it again"
        wrong = wrong or (cut if groups else f"holds {count} frames without a place for each: {EXPORT}")
    image_type = [str(part) for part in header.get("ImageType") or ()]
    found = []
    for index, group in enumerate(groups if not wrong else groups[:1] or [shared]):
        get = _getter(header, shared, group)
        spacing, origin, direction, misplaced = place(get)
        found.append(
            Slice(
                path=path,
                frame=None if wrong else index + 1,
                instance=f"{header.get('SOPInstanceUID', path)} {index + 1}",
                series=str(header.get("SeriesInstanceUID", "")),
                localiser="LOCALIZER" in image_type,
                wrong=wrong or misplaced or wrong_values(get),
                size=size,
                spacing=spacing,
                origin=origin,
                direction=direction,
                thickness=thickness(get),
                dtype=_dtype(header, get),
                volume_attributes=_volume_attributes(header, group),
            )
        )
    return found, claimed


def _getter(header: Any, shared: Any, group: Any) -> Callable[[str], Any]:
    """Looks up an attribute of a frame: in its own functional groups, in the shared ones, in the object."""

    def get(keyword: str) -> Any:
        sequence = _PLACES.get(keyword)
        for groups in (group, shared) if sequence else ():
            item = next(iter((groups.get(sequence) if groups is not None else None) or ()), None)
            if item is not None and item.get(keyword) is not None:
                return item.get(keyword)
        return header.get(keyword)

    return get


def _volume_attributes(header: Any, group: Any) -> dict[str, str]:
    """Attributes that may distinguish the volumes, of the frame or else of the whole file."""
    from pydicom.datadict import tag_for_keyword

    wanted = {int(tag_for_keyword(name)): name for name in (*_FRAME_ATTRIBUTES, *VOLUME_ATTRIBUTES)}
    found = {name: _text(header.get(name)) for name in VOLUME_ATTRIBUTES if header.get(name)}
    for tag, value in _leaves(group, wanted):
        found[wanted[tag]] = _text(value)
    return {name: found[name] for name in wanted.values() if name in found}


def _leaves(dataset: Any, wanted: Container[int]) -> Iterator[tuple[int, Any]]:
    """The wanted attributes of the functional groups of a frame, and of the items in them; no others are parsed."""
    for tag in sorted(dataset.keys()) if dataset is not None else ():
        if tag.is_private:
            continue
        if int(tag) in wanted:
            yield int(tag), dataset[tag].value
        elif dataset.get_item(tag).VR in ("SQ", None) and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                yield from _leaves(item, wanted)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def _dtype(header: Any, get: Callable[[str], Any]) -> np.dtype[Any]:
    """The smallest type that holds every scaled value that a frame can have."""
    if "PixelRepresentation" not in header:  # a map that stores floats
        return np.dtype(np.float64)
    slope, intercept = number(get("RescaleSlope"), 1), number(get("RescaleIntercept"), 0)
    if slope != int(slope) or intercept != int(intercept):
        return np.dtype(np.float64)
    bits = int(header.BitsStored)
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if header.PixelRepresentation else [0, 2**bits - 1])
    low, high = sorted(int(value) for value in ends * slope + intercept)
    fitting = (kind for kind in _INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return np.dtype(next(fitting, np.float64))


def _drop_private_dimensions(dataset: Any) -> None:
    """Remove private attributes, which highdicom cannot name, from the index of dimensions."""
    dimensions = list(dataset.get("DimensionIndexSequence") or ())
    public = [index for index, item in enumerate(dimensions) if not item.DimensionIndexPointer.is_private]
    if len(public) == len(dimensions):
        return
    dataset.DimensionIndexSequence = [dimensions[index] for index in public]
    for group in dataset.PerFrameFunctionalGroupsSequence:
        content = group.FrameContentSequence[0]
        content.DimensionIndexValues = [content.DimensionIndexValues[index] for index in public]


def _last_line(error: Exception) -> str:
    """What an error says, short."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:_QUOTED]
