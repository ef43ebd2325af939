"""A label map as a DICOM segmentation (SEG), by highdicom, from the slices of its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.dicom.arguments import Encoding
from swin_unetr.dicom.out.source import Source
from swin_unetr.dicom.out.structures import Maker, Structure
from swin_unetr.dicom.terminology import code_of
from swin_unetr.errors import DataError

_SERIES_NUMBER = 9001
MANUFACTURER = "swin-unetr"


def make_segmentation(
    source: Source,
    labels: NDArray[np.integer],
    structures: Sequence[Structure],
    maker: Maker,
    uids: tuple[str, str],
    encoding: Encoding = "binary",
) -> Any:
    """A SEG of the structures, each a segment; frames refer to the slices of the source.

    Args:
        source: the scan.
        labels: X x Y x Z on the grid of the source.
        structures: those that are there, numbered from 1 in this order.
        maker: named as the algorithm.
        uids: of the new series and the new object.
        encoding: how voxels are stored.

    Returns:
        A `pydicom.Dataset`.

    Raises:
        DataError: the structures overlap and the encoding is "labelmap"; or the source has something that highdicom
            refuses.
    """
    import highdicom

    values = [value for one in structures for value in one.values]
    overlap = len(set(values)) < len(values)
    if overlap and encoding == "labelmap":
        raise DataError(f"{source.path}: its structures overlap, which a label map cannot hold; choose binary")
    stored = _overlapping(labels, structures) if overlap else _numbered(labels, structures)
    binary = highdicom.seg.SegmentationTypeValues.BINARY
    try:
        return highdicom.seg.Segmentation(
            source_images=list(source.headers),
            pixel_array=_in_source_order(stored, source),
            segmentation_type=binary if encoding == "binary" else highdicom.seg.SegmentationTypeValues.LABELMAP,
            segment_descriptions=[_described(one, number, maker) for number, one in enumerate(structures, 1)],
            series_instance_uid=uids[0],
            sop_instance_uid=uids[1],
            series_number=_SERIES_NUMBER,
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=maker.name,
            software_versions=maker.version,
            device_serial_number="none",
            content_label="SEGMENTATION",
            content_description=f"Segmentation by {maker.name}"[:64],
            series_description=f"{maker.name} segmentation"[:64],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # what the source lacks raises any of these
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"{source.path}: no SEG can be made of it ({reason}); segment it without --dicom") from error


def _numbered(labels: NDArray[np.integer], structures: Sequence[Structure]) -> NDArray[Any]:
    table = np.zeros(int(labels.max(initial=0)) + 1, np.min_scalar_type(len(structures)))
    for number, one in enumerate(structures, 1):
        table[[value for value in one.values if value < len(table)]] = number
    numbered: NDArray[Any] = table[labels]
    return numbered


def _overlapping(labels: NDArray[np.integer], structures: Sequence[Structure]) -> NDArray[Any]:
    return np.stack([one.mask(labels) for one in structures], axis=-1).astype(np.uint8)


def _in_source_order(stored: NDArray[Any], source: Source) -> NDArray[Any]:
    """X x Y x Z (x segments) as slices x rows x columns, in the order of files, or of the frames in the file."""
    planes = np.moveaxis(stored, (2, 1, 0), (0, 1, 2))
    if not source.is_framed():
        return np.ascontiguousarray(planes)
    ordered = np.zeros((int(source.first.NumberOfFrames), *planes.shape[1:]), planes.dtype)
    ordered[[of.frame - 1 for of in source.slices if of.frame is not None]] = planes
    return ordered


def _described(one: Structure, number: int, maker: Maker) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes

    term = one.term
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=maker.name,
        family=codes.DCM.ArtificialIntelligence,
        version=maker.version,
        source=MANUFACTURER,
        parameters={f"weights {index} SHA-256": digest for index, digest in enumerate(maker.weights, 1)} or None,
    )
    described = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=one.name[:64],
        segmented_property_category=concept(term.category),
        segmented_property_type=concept(term.type),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[concept(term.region)] if term.region else None,
        display_color=highdicom.color.CIELabColor.from_rgb(*one.rgb),
    )
    if term.modifier and term.region:
        described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(term.modifier)]
    elif term.modifier:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [concept(term.modifier)]
    return described


def concept(text: str) -> Any:
    """The code in a text of the table as highdicom has it."""
    import highdicom

    code = code_of(text)
    return highdicom.sr.CodedConcept(code.value, code.scheme, code.meaning[:64])
