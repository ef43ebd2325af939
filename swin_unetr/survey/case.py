"""Reads the files of one case, each once, and says what they hold."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.datasets.case import Case
from swin_unetr.datasets.dicom_objects import is_dicom
from swin_unetr.errors import DataError
from swin_unetr.file_stamps import bytes_hash, file_stamps, parts_of
from swin_unetr.survey.alignment import alignment_of
from swin_unetr.survey.facts import Alignment, CaseFacts, FileFacts, ImageFacts, LabelFacts, NoteFacts, Problem
from swin_unetr.survey.intensities import channel_facts, choose_sample, foreground_positions, foreground_sample
from swin_unetr.survey.labels import Labels, read_values
from swin_unetr.words import count
from transforms.content import content_hash
from transforms.geometry import Geometry, Volume
from transforms.io import NIFTI_SUFFIXES, dicom_problems, read_file, read_geometry, refuse_time_series
from transforms.slicer import is_segmentation, on_grid_of


@dataclass(frozen=True)
class Reading:
    """A case to read, and what is known of it from before."""

    case: Case
    known: CaseFacts | None = None


def read_case(reading: Reading) -> CaseFacts:
    """Read a case; what is wrong with a file is among its problems, and the others are read all the same."""
    case, known = reading.case, reading.known
    if known is not None and _unchanged(case, known):
        return known
    rng = np.random.default_rng(int(hashlib.blake2b(case.id.encode(), digest_size=8).hexdigest(), 16))
    problems: list[Problem] = []
    label, labels = _read_label(case.label, case.images, problems) if case.label else (None, None)
    foreground = np.zeros(0, np.int64) if labels is None else foreground_positions(labels, rng)
    chosen = choose_sample(foreground, rng)
    images: list[ImageFacts] = []
    samples: list[tuple[float, ...]] = []
    fitted: Alignment | None = None
    for path in case.images:
        file = _read_file(path, problems, case=case)
        if file is None:
            continue
        volume, facts = file
        same = labels is not None and label is not None and volume.geometry.shape == label.shape
        channels = []
        for channel in volume.array:
            channels.append(channel_facts(channel, labels if same else None, foreground[: len(foreground) * same]))
            if same:
                samples.append(foreground_sample(channel, foreground, chosen))
        if same and labels is not None and not images:
            fitted = alignment_of(volume.array[0], labels, volume.geometry, rng)
        images.append(ImageFacts(**facts, of_channels=tuple(channels)))
        del file, volume
    return CaseFacts(
        id=case.id,
        group=getattr(case, "group", None) or case.id,
        images=tuple(images),
        label=label,
        problems=tuple(problems),
        fit=fitted,
        sample=tuple(samples),
    )


def _read_label(
    path: Path, images: Sequence[Path], problems: list[Problem]
) -> tuple[LabelFacts | None, NDArray[np.uint16] | None]:
    file = _read_file(path, problems, image=images[0])
    if file is None:
        return None, None
    volume, facts = file
    if len(volume.array) > 1:
        words = f"a label file of {count(len(volume.array), 'channel')} where one 3-D map is wanted"
        problems.append(Problem(code="wrong-dimensions", path=path, words=words))
    held = read_values(volume.array[0], volume.geometry)
    return LabelFacts(**facts, **_of_label(held)), held.array


def _of_label(held: Labels) -> dict[str, Any]:
    return {
        "values": held.values,
        "not_finite": held.not_finite,
        "not_integer": held.not_integer,
        "negative": held.negative,
        "odd_values": held.odd,
        "is_label_map": held.array is not None,
    }


def _read_file(
    path: Path, problems: list[Problem], *, case: Case | None = None, image: Path | None = None
) -> tuple[Volume, dict[str, Any]] | None:
    """Voxels as stored and the fields of `FileFacts`; a problem is noted where the file cannot be used.

    Args:
        path: the file.
        problems: takes what is wrong with it.
        case: of a scan, the case that it belongs to.
        image: of a label map, the scan.
    """
    try:
        if not path.exists():
            is_dead = path.is_symlink()
            words = "is a link that leads nowhere" if is_dead else "there is no such file"
            problems.append(Problem(code="broken-link" if is_dead else "missing", path=path, words=words))
            return None
    except OSError as error:  # a folder that may not be looked into
        problems.append(Problem(code="unreadable", path=path, words=f"cannot be read ({error.strerror})"))
        return None
    try:
        if (path.is_dir() or is_dicom(path)) and (uneven := dicom_problems(path)):
            problems += [Problem(code="dicom-series", path=file, words=words) for file, words in uneven]
            return None
        if case is not None:
            refuse_time_series([path], case.channels if len(case.images) == 1 else 1)
        volume = read_file(path)
        if image is not None and is_segmentation(path):
            with suppress(DataError):  # the reading of the image itself reports it
                volume = on_grid_of(volume, read_geometry(image))
        facts = _file_facts(path, volume)
    except DataError as error:
        words = str(error).removeprefix(f"{path}: ").partition("; ")[0]
        problems.append(Problem(code=getattr(error, "code", "unreadable"), path=path, words=words))
        return None
    return volume, facts


def _file_facts(path: Path, volume: Volume) -> dict[str, Any]:
    geometry = volume.geometry
    return {
        "path": path,
        "kind": _kind(path, geometry),
        "bytes": sum(file.stat().st_size for file in parts_of(path)),
        "stamp": stamp(path),
        "hash": bytes_hash(path),
        "voxels_hash": content_hash(volume),
        "shape": geometry.shape,
        "channels": len(volume.array),
        "spacing_mm": tuple(round(size, 6) for size in geometry.spacing_mm),
        "affine": tuple(tuple(map(float, row)) for row in geometry.affine),
        "orientation": geometry.orientation,
        "shear_degrees": _shear_degrees(geometry),
        "dtype": str(volume.array.dtype),
        "notes": tuple(NoteFacts(code=note.code, path=note.path or path, words=note.words) for note in volume.notes),
    }


def _kind(path: Path, geometry: Geometry) -> str:
    if path.is_dir() or is_dicom(path):
        return "dicom"
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        header = geometry.nifti_header
        if header is None:
            return "analyze"
        pair = bytes(header["magic"].item())[:2] != b"n+"
        return f"nifti-{1 if int(header['sizeof_hdr']) == 348 else 2}{' pair' if pair else ''}"
    return path.suffix.lower().lstrip(".")


def _shear_degrees(geometry: Geometry) -> float:
    """How far the axes are from right angles."""
    axes = geometry.affine[:3, :3] / geometry.spacing_mm
    cosines = (axes.T @ axes)[np.triu_indices(3, 1)]
    return round(float(np.degrees(np.arcsin(np.clip(np.abs(cosines).max(), 0, 1)))), 4)


def stamp(path: Path) -> str:
    """Changes when a file, or one of its parts, is written again or replaced."""
    return hashlib.blake2b(json.dumps(file_stamps(path)).encode(), digest_size=16).hexdigest()


def _unchanged(case: Case, known: CaseFacts) -> bool:
    """Whether a case has the files that it had, with the same content."""
    wanted: Sequence[Path] = (*case.images, *([case.label] if case.label else []))
    files: dict[str, FileFacts] = {os.path.abspath(file.path): file for file in known.files()}
    if not known.usable or sorted(map(os.path.abspath, wanted)) != sorted(files):
        return False
    try:
        refuse_time_series(case.images, case.channels)  # the data set may name other channels by now
        return all(
            stamp(path) == files[os.path.abspath(path)].stamp or bytes_hash(path) == files[os.path.abspath(path)].hash
            for path in wanted
        )
    except (OSError, DataError):
        return False
