"""Defects of the grids: each file by itself, label against image, and each case against the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from swin_unetr.doctor.findings import Finding
from swin_unetr.survey.facts import CaseFacts, FileFacts, FloatTriple, Survey
from swin_unetr.words import by
from transforms.geometry import Geometry

#: Angle from which axes count as sheared; rounding of headers is some 0.01 degrees.
_SHEAR_DEGREES = 0.5
#: Voxel sizes of scans of people, mm; in-plane and slice distance together.
_SMALLEST_MM, _LARGEST_MM = 0.05, 20.0
#: A case is an outlier by this factor, if no other case deviates by half as much (as a power).
_OUTLIER_FACTOR = 3.0
#: Cases that make "the others".
_FEWEST_OTHERS = 4


def geometry_findings(survey: Survey, tolerance_mm: float) -> Iterator[Finding]:
    """All that is wrong with grids.

    Args:
        survey: the data set.
        tolerance_mm: largest distance between corners of grids that count as one.
    """
    for case in survey.cases:
        of_images = [finding for image in case.images for finding in _of_file(image, case)]
        yield from of_images
        if case.label is not None:  # what it shares with its image is reported once
            known = {finding.code for finding in of_images}
            yield from (finding for finding in _of_file(case.label, case) if finding.code not in known)
        yield from _together(case, tolerance_mm)
    images = [(case, case.images[0]) for case in survey.cases if case.images]
    yield from _unlike(images, "spacing-outlier", lambda file: _ras(file, file.spacing_mm), "a voxel size of {} mm")
    yield from _unlike(images, "size-outlier", lambda file: _ras(file, _extent(file)), "an extent of {} mm")


def as_geometry(file: FileFacts) -> Geometry:
    """The grid of a file."""
    return Geometry(file.shape, np.array(file.affine))


def _of_file(file: FileFacts, case: CaseFacts) -> Iterator[Finding]:
    def finding(code: str, words: str) -> Finding:
        return Finding(code, words, file.path, case.id)

    if file.shear_degrees > _SHEAR_DEGREES:
        yield finding("sheared", f"axes miss the right angle by {file.shear_degrees:.3g} degrees")
    if min(file.shape) == 1:
        yield finding("one-slice", f"shape {by(file.shape, 4)}")
    for note in file.notes:
        yield Finding(note.code, note.words, note.path, case.id)
    if not min(file.spacing_mm) >= _SMALLEST_MM or not max(file.spacing_mm) <= _LARGEST_MM:
        yield finding("spacing-extreme", f"{by(file.spacing_mm, 4)} mm")


def _together(case: CaseFacts, tolerance_mm: float) -> Iterator[Finding]:
    if not case.images:
        return
    first = as_geometry(case.images[0])
    for image in case.images[1:]:
        if difference := as_geometry(image).difference(first, tolerance_mm):
            yield Finding("channels-differ", f"against {case.images[0].path.name}: {difference}", image.path, case.id)
    if case.label is not None and (difference := as_geometry(case.label).difference(first, tolerance_mm)):
        yield Finding("geometry-differs", f"label and image: {difference}", case.label.path, case.id)


def _unlike(
    images: Sequence[tuple[CaseFacts, FileFacts]], code: str, of: Callable[[FileFacts], FloatTriple], words: str
) -> Iterator[Finding]:
    """Cases whose sizes are far from the others'; a set of many different sizes has no such case."""
    if len(images) <= _FEWEST_OTHERS:
        return
    logs = np.log([[max(size, 1e-9) for size in of(file)] for _, file in images])
    away = np.abs(logs - np.median(logs, axis=0)).max(axis=1)
    usual = float(np.percentile(away, 80))
    for index in np.flatnonzero(away > max(np.log(_OUTLIER_FACTOR), 3 * usual)):
        case, file = images[int(index)]
        median = np.exp(np.median(logs, axis=0))
        text = f"{words.format(by(of(file), 4))}, of the others {by(median.round(2), 4)} (median)"
        yield Finding(code, text, file.path, case.id)


def _extent(file: FileFacts) -> FloatTriple:
    x, y, z = (count * size for count, size in zip(file.shape, file.spacing_mm, strict=True))
    return x, y, z


def _ras(file: FileFacts, along: FloatTriple) -> FloatTriple:
    """Sizes along the stored axes in the order R-L, A-P, I-S."""
    strength = np.abs(np.array(file.affine)[:3, :3] / np.array(file.spacing_mm))
    x, y, z = (along[int(np.argmax(strength[world]))] for world in range(3))
    return x, y, z
