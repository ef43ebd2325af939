"""A case as the page shows it: a description in JSON, and the volumes that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from swin_unetr.errors import DataError
from swin_unetr.evaluation.inputs.images import read_shown
from swin_unetr.evaluation.report.pictures import CONFUSED as CONFUSED_COLOUR
from swin_unetr.evaluation.report.pictures import INVENTED as INVENTED_COLOUR
from swin_unetr.evaluation.report.pictures import MISSED as MISSED_COLOUR
from swin_unetr.tasks import Task
from swin_unetr.viewer.overlays import centres_mm, error_map, number_classes
from transforms.geometry import Geometry, Volume
from transforms.io import nifti_bytes, read_geometry, read_labels, read_verdict
from transforms.resample import labels_on_grid


@dataclass(frozen=True)
class CaseFiles:
    """What to show together."""

    name: str
    #: Scans on one grid, one shown at a time; without a scan, the labels are shown on black.
    images: tuple[Path, ...] = ()
    references: tuple[Path, ...] = ()
    predictions: tuple[Path, ...] = ()
    reference_task: Task | None = None
    prediction_task: Task | None = None
    modality: str | None = None
    #: Lower and upper bound of the task's own window.
    window: tuple[float, float] | None = None


@dataclass
class Scene:
    """A case, ready to be served."""

    description: dict[str, Any]
    #: Content of a volume by its name in the description, or the file that holds it as it is.
    volumes: dict[str, Callable[[], bytes] | Path] = field(default_factory=dict)


def open_scene(case: CaseFiles) -> Scene:
    """Read the labels of a case and the header of its scan.

    A label map on another grid than the scan is laid on the scan's by the nearest voxel, and a note says so.

    Raises:
        DataError: a file is missing or cannot be read, or no file is given.
    """
    paths = (*case.references, *case.predictions)
    if not case.images and not paths:
        raise DataError(f"{case.name}: no file to show")
    scan = read_geometry(case.images[0]) if case.images else None
    labels = [read_labels(path, like=scan) for path in paths]
    geometry = labels[0].geometry if scan is None else scan
    read = [(path, volume.notes) for path, volume in zip(paths, labels, strict=True)]
    read += [(path, read_verdict(path).notes) for path in case.images]
    notes = [f"{path.name}: {note.words}" for path, odd in read for note in odd]
    arrays = [_aligned(path, volume, geometry, notes) for path, volume in zip(paths, labels, strict=True)]
    tasks = [case.reference_task] * len(case.references) + [case.prediction_task] * len(case.predictions)
    classes, numbered = number_classes(arrays, tasks)
    scene = Scene({"case": case.name, "notes": notes, "modality": case.modality, "window": case.window})
    scene.description["scans"] = _scans(case, geometry, scene)
    scene.description["classes"] = [{"name": entry.name, "colour": entry.colour} for entry in classes]
    scene.description["errorColours"] = [MISSED_COLOUR, INVENTED_COLOUR, CONFUSED_COLOUR]

    layers: list[dict[str, Any]] = []
    for number, (path, array) in enumerate(zip(paths, numbered, strict=True)):
        kind = "reference" if number < len(case.references) else "prediction"
        layers.append(_layer(scene, f"{kind}-{number}", kind, path, array, geometry))
    for number, path in enumerate(case.predictions if case.references else (), len(case.references)):
        errors = error_map(numbered[number], numbered[0], len(classes))
        layers.append(_layer(scene, f"errors-{number}", "errors", path, errors, geometry))
    scene.description["layers"] = layers
    return scene


def _aligned(path: Path, volume: Volume, geometry: Geometry, notes: list[str]) -> Any:
    difference = geometry.difference(volume.geometry)
    if difference is None:
        return volume.array[0]
    notes.append(f"{path.name} lies on another grid ({difference}); shown by the nearest voxel")
    return labels_on_grid(volume, geometry).array[0]


def _layer(scene: Scene, key: str, kind: str, path: Path, array: Any, geometry: Geometry) -> dict[str, Any]:
    name = f"{key}.nii"
    scene.volumes[name] = lambda: nifti_bytes(array, geometry)
    return {"kind": kind, "name": path.name, "url": name, "centres": centres_mm(array, geometry)}


def _scans(case: CaseFiles, geometry: Geometry, scene: Scene) -> list[dict[str, str]]:
    """The scans in the order of the page's choice; a file of several channels counts as several."""
    scans = []

    def add(label: str, name: str, content: Callable[[], bytes] | Path) -> None:
        scene.volumes[name] = content
        scans.append({"name": label, "url": name})

    for number, path in enumerate(case.images):
        if _as_it_is(path):
            add(path.name, f"scan-{number}{''.join(path.suffixes[-2:]) if path.suffix == '.gz' else '.nii'}", path)
            continue
        volume = read_shown(path, (case.reference_task, case.prediction_task))
        for index, channel in enumerate(volume.array):
            label = path.name if len(volume.array) == 1 else f"{path.name}, channel {index + 1}"
            add(label, f"scan-{number}-{index}.nii", _content(channel, volume.geometry))
    if not scans:
        add("no scan", "empty.nii", lambda: nifti_bytes(np.zeros(geometry.shape, np.uint8), geometry))
    return scans


def _content(array: Any, geometry: Geometry) -> Callable[[], bytes]:
    whole = array.astype(np.int16)  # half of what the browser has to carry, where nothing is lost
    content = whole if np.array_equal(whole, array) else array
    return lambda: nifti_bytes(content, geometry)


def _as_it_is(path: Path) -> bool:
    """Whether the page reads the file as we do.

    NiiVue prefers the qform where its code is the higher one, and knows no default affine; both could swap sides. It
    may also read a header differently that our reading found odd.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return False
    verdict = read_verdict(path)
    header = verdict.geometry.nifti_header
    if verdict.notes or header is None or int(header["dim"][0]) != 3:
        return False
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    return sform >= qform > 0 or (sform > 0 and qform == 0) or (sform == 0 and qform > 0)
