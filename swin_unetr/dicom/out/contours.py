"""A label map as a set of contours (RTSTRUCT) on the slices of its source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.dicom.out.outlines import outlines
from swin_unetr.dicom.out.segmentation import MANUFACTURER, concept
from swin_unetr.dicom.out.source import IDENTITY, Source
from swin_unetr.dicom.out.structures import Maker, Structure
from transforms.io_dicom_slices import Slice

_SERIES_NUMBER = 9002


def make_contours(
    source: Source,
    labels: NDArray[np.integer],
    structures: Sequence[Structure],
    maker: Maker,
    uids: tuple[str, str],
    made_at: tuple[str, str],
) -> Any:
    """An RTSTRUCT of the structures, each a region of interest (ROI).

    Args:
        source: the scan.
        labels: X x Y x Z on the grid of the source.
        structures: those that are there, numbered from 1 in this order.
        maker: named as the algorithm.
        uids: of the new series and the new object.
        made_at: date and time, as DICOM writes them.

    Returns:
        A `pydicom.Dataset`.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = RTStructureSetStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uids[1]
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if "SpecificCharacterSet" in source.first:
        made.SpecificCharacterSet = source.first.SpecificCharacterSet
    for name in IDENTITY:
        setattr(made, name, source.first[name].value)
    made.StudyInstanceUID, made.SeriesInstanceUID = source.first.StudyInstanceUID, uids[0]
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = source.first.FrameOfReferenceUID, ""
    made.Modality, made.SeriesNumber, made.InstanceNumber = "RTSTRUCT", _SERIES_NUMBER, 1
    made.SeriesDescription, made.OperatorsName = f"{maker.name} contours"[:64], ""
    made.Manufacturer, made.ManufacturerModelName = MANUFACTURER, maker.name[:64]
    made.DeviceSerialNumber, made.SoftwareVersions = "none", maker.version
    made.InstanceCreationDate, made.InstanceCreationTime = made_at
    made.StructureSetDate, made.StructureSetTime = made_at
    made.StructureSetLabel, made.StructureSetName = "AUTOMATIC", maker.name[:64]
    if maker.weights:
        made.StructureSetDescription = f"weights SHA-256 {', '.join(maker.weights)}"
    made.ApprovalStatus = "UNAPPROVED"
    made.ReferencedFrameOfReferenceSequence = [_referenced(source)]
    numbered = list(enumerate(structures, 1))
    frame = source.first.FrameOfReferenceUID
    made.StructureSetROISequence = [
        _item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=frame,
            ROIName=one.name[:64],
            ROIGenerationAlgorithm="AUTOMATIC",
            ROIGenerationDescription=f"{maker.name} {maker.version}"[:64],
        )
        for number, one in numbered
    ]
    made.ROIContourSequence = [
        _item(
            ROIDisplayColor=list(one.rgb),
            ReferencedROINumber=number,
            ContourSequence=list(_contours(source, one.mask(labels))),
        )
        for number, one in numbered
    ]
    made.RTROIObservationsSequence = [_observed(one, number) for number, one in numbered]
    return made


def _item(**attributes: Any) -> Any:
    from pydicom.dataset import Dataset

    made = Dataset()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def _referenced(source: Source) -> Any:
    """The slices that contours lie on, as the series and the study of the source."""
    first = source.first
    series = _item(
        SeriesInstanceUID=first.SeriesInstanceUID,
        ContourImageSequence=[_image(source, of) for of in source.slices],
    )
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # Detached Study Management, as PS3.3 C.8.8.5 has it
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _image(source: Source, of: Slice) -> Any:
    header = source.by_path[of.path]
    made = _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if of.frame is not None:
        made.ReferencedFrameNumber = of.frame
    return made


def _contours(source: Source, mask: NDArray[np.bool_]) -> Iterator[Any]:
    for index, of in enumerate(source.slices):
        for line in outlines(mask[:, :, index]):
            places = of.origin + (line * of.spacing) @ of.direction[:, :2].T
            yield _item(
                ContourImageSequence=[_image(source, of)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(places),
                ContourData=[f"{value:.3f}" for value in places.ravel()],
            )


def _observed(one: Structure, number: int) -> Any:
    kind = concept(one.term.type)
    if one.term.modifier:
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept(one.term.modifier)]
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        ROIObservationLabel=one.name[:16],
        RTROIInterpretedType="",
        ROIInterpreter="",
        RTROIIdentificationCodeSequence=[kind],
    )
