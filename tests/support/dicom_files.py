"""DICOM files made with pydicom: single slices, Enhanced multi-frame files, and objects that hold no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

#: Columns of the identity: rows run along X, columns along Y.
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES = "1.2.5.6"


def _object(sop_class: str, modality: str, series: str) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = sop_class, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.4", series, "1.2.7"
    made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = "1", "A^B", "", ""
    made.StudyDate = made.StudyTime = made.StudyID = made.AccessionNumber = made.ReferringPhysicianName = ""
    made.Modality, made.SeriesNumber, made.InstanceNumber, made.Manufacturer = modality, 1, 1, "test"
    return made


def save(made: Dataset, path: Path, *, preamble: bool = True) -> Path:
    """Write an object, without its preamble and meta group if asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if preamble:
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.save_as(path, enforce_file_format=True)
    else:
        made.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return path


def write_object(path: Path, sop_class: str, modality: str, series: str = "1.2.9") -> Path:
    """An object of a class without an image."""
    return save(_object(sop_class, modality, series), path)


def _with_pixels(made: Dataset, stored: np.ndarray[Any, Any]) -> None:
    made.Rows, made.Columns = stored.shape[-1], stored.shape[-2]  # stored ... X x Y
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 8 * stored.dtype.itemsize
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(stored.dtype.kind == "i")
    made.add_new("PixelData", "OW", np.ascontiguousarray(np.swapaxes(stored, -1, -2)).tobytes())


def write_plane(
    path: Path,
    stored: np.ndarray[Any, Any],
    position: Sequence[float],
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] | None = (0.8, 0.7),
    preamble: bool = True,
    sop_class: str = CTImageStorage,
    **attributes: Any,
) -> Path:
    """A slice, X x Y, of a CT; attributes by their keywords, None to leave one out."""
    made = _object(sop_class, "CT", SERIES)
    _with_pixels(made, stored)
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.ImagePositionPatient, made.ImageOrientationPatient = list(position), list(orientation)
    made.PixelSpacing = list(spacing) if spacing else None
    made.RescaleSlope, made.RescaleIntercept = "1", "-1024"
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    for keyword in ("PixelSpacing", *attributes):
        if getattr(made, keyword) is None:
            delattr(made, keyword)
    return save(made, path, preamble=preamble)


def _item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def enhanced(
    stored: np.ndarray[Any, Any],
    positions: Sequence[Sequence[float]],
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.8, 0.7),
    slopes: Sequence[float] | None = None,
    intercepts: Sequence[float] | None = None,
    stacks: Sequence[str] | None = None,
    groups: Sequence[Mapping[str, Mapping[str, Any]]] | None = None,
    sop_class: str = EnhancedMRImageStorage,
    modality: str = "MR",
) -> Dataset:
    """An Enhanced object of frames, frame x X x Y; `groups` adds attributes by their functional group to each frame."""
    made = _object(sop_class, modality, SERIES)
    _with_pixels(made, stored)
    made.NumberOfFrames = len(stored)
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.ContentDate, made.ContentTime = "20200101", "120000"
    made.DimensionOrganizationSequence = [_item(DimensionOrganizationUID="1.2.3")]
    made.DimensionIndexSequence = [
        _item(DimensionOrganizationUID="1.2.3", DimensionIndexPointer=0x00209056, FunctionalGroupPointer=0x00209111),
        _item(DimensionOrganizationUID="1.2.3", DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111),
    ]
    shared = _item(
        PlaneOrientationSequence=[_item(ImageOrientationPatient=list(orientation))],
        PixelMeasuresSequence=[_item(PixelSpacing=list(spacing), SliceThickness="2")],
    )
    made.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for index, position in enumerate(positions):
        stack = stacks[index] if stacks else "1"
        content = _item(StackID=stack, InStackPositionNumber=index + 1, DimensionIndexValues=[1, index + 1])
        frame = _item(
            FrameContentSequence=[content],
            PlanePositionSequence=[_item(ImagePositionPatient=[float(f"{value:.10g}") for value in position])],
            PixelValueTransformationSequence=[
                _item(
                    RescaleSlope=str(slopes[index] if slopes else 1),
                    RescaleIntercept=str(intercepts[index] if intercepts else 0),
                    RescaleType="US",
                )
            ],
        )
        for name, attributes in (groups[index] if groups else {}).items():
            inner = frame[name].value[0] if name in frame else _item()
            for keyword, value in attributes.items():
                setattr(inner, keyword, value)
            setattr(frame, name, [inner])
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = frames
    return made
