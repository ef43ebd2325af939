"""The scan that a result was made from: its slices as DICOM has them, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from swin_unetr.datasets.dicom_objects import is_dicom
from swin_unetr.dicom.arguments import require_libraries
from swin_unetr.errors import DataError
from transforms.geometry import Geometry
from transforms.io import read_verdict
from transforms.io_dicom_slices import Slice
from transforms.io_dicom_stack import find_stack

#: Needed of every file of the source.
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
#: Of patient and study, copied to what is made; these may be empty but have to be there.
IDENTITY = [
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
]


class RefusedSourceError(DataError):
    """A scan lacks what an object that refers to it has to name."""


@dataclass(frozen=True, eq=False)
class Source:
    """A DICOM scan as the source of other objects.

    Attributes:
        path: the folder of the series, or the file.
        slices: in the order of the third axis.
        headers: of the files, in the order of their first slices, without voxels.
        geometry: of the scan, as `transforms.io` reads it.
    """

    path: Path
    slices: tuple[Slice, ...]
    headers: tuple[Any, ...]
    geometry: Geometry

    @cached_property
    def by_path(self) -> dict[Path, Any]:
        """The header of each file."""
        return dict(zip(dict.fromkeys(of.path for of in self.slices), self.headers, strict=True))

    @property
    def first(self) -> Any:
        """A header that says whose scan it is."""
        return self.headers[0]

    def is_framed(self) -> bool:
        """Whether one file holds the slices as frames."""
        return self.slices[0].frame is not None


def read_source(path: Path) -> Source:
    """The slices of a scan, with what objects that refer to them have to name.

    Args:
        path: a folder with a series, or a DICOM file.

    Raises:
        RefusedSourceError: it is no DICOM, or it lacks an attribute, which is named.
        DataError: it cannot be read.
    """
    require_libraries()
    import pydicom

    if not path.is_dir() and not is_dicom(path):
        raise RefusedSourceError(f"{path}: is not DICOM; DICOM objects need the series that was segmented")
    geometry = read_verdict(path).geometry  # refuses what is not one scan
    slices = tuple(find_stack(path).slices)
    headers = tuple(pydicom.dcmread(file, stop_before_pixels=True) for file in dict.fromkeys(of.path for of in slices))
    if missing := list(dict.fromkeys(name for header in headers for name in _missing(header))):
        raise RefusedSourceError(
            f"{path}: lacks {', '.join(missing)}, which DICOM objects of it have to name; export the series again from "
            "the archive, or segment without --dicom"
        )
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if len({header[name].value for header in headers}) > 1:
            raise RefusedSourceError(f"{path}: its files differ in {name}; export the series again from the archive")
    if slices[0].frame is not None and len(headers) > 1:
        raise RefusedSourceError(f"{path}: its frames lie in {len(headers)} files; objects can refer to one file")
    for header in headers:
        _share_planes(header)
        for name in IDENTITY:
            if name not in header:
                setattr(header, name, "")
    return Source(path, slices, headers, geometry)


def _share_planes(header: Any) -> None:
    """Say once what all frames share: highdicom looks for it here, and some makers repeat it in each frame."""
    frames, shared = (header.get(f"{which}FunctionalGroupsSequence") for which in ("PerFrame", "Shared"))
    for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if frames and shared and name not in shared[0] and name in frames[0]:
            setattr(shared[0], name, frames[0][name].value)


def _missing(header: Any) -> Iterator[str]:
    return (name for name in _NEEDED if not str(header.get(name) or "").strip())
