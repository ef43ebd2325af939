"""Pictures of a case for the report: three planes through its largest error, as data URIs.

Radiological convention: the patient's right is on the left of axial and coronal pictures, the patient's front on the
left of sagittal ones. The sides are named beside the pictures, not in them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from swin_unetr.tasks import Target, Task
from transforms.geometry import Geometry, Volume

#: Longest side of a picture in pixels.
PIXELS = 256
#: Tissue around the structures that a picture shows, in millimetres, and its smallest width.
_MARGIN_MM, _LEAST_MM = 15.0, 60.0
#: Window of CT pictures in HU: soft tissue.
_CT_WINDOW = (-160.0, 240.0)

#: Okabe and Ito's colours, which colour-blind people distinguish (https://jfly.uni-koeln.de/color/); on grey scans.
_HUES = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")


def _shade(colour: str, shade: int) -> str:
    """The colour itself, a lighter or a darker one."""
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    mixed = (parts, [part + 0.5 * (255 - part) for part in parts], [0.62 * part for part in parts])[shade]
    return "#" + "".join(f"{round(part):02X}" for part in mixed)


#: Colours of the structures in their order; from the 22nd on they repeat.
COLOURS = tuple(_shade(hue, shade) for shade in range(3) for hue in _HUES)
#: Colours of the differences: missed, invented, a wrong structure. The first structures have other ones.
MISSED, INVENTED, CONFUSED = "#D55E00", "#0072B2", "#F0E442"
#: If one value fills this share of a scan, it is the outside of the head in a skull-stripped scan.
_OUTSIDE = 0.1


@dataclass(frozen=True)
class Plane:
    """One plane of a case. Pictures of a plane lie on one another."""

    #: "axial", "coronal" or "sagittal".
    name: str
    #: Letters at the left, right, top and bottom edge.
    sides: tuple[str, str, str, str]
    #: Size in pixels, whose ratio is that of the millimetres.
    width: int
    height: int
    #: Data URI of the scan. If None, there is no image.
    scan: str | None
    #: Data URIs, transparent where nothing is.
    reference: str
    prediction: str
    difference: str
    #: Places in the reference's task of the structures that the plane shows.
    structures: tuple[int, ...]


#: Name, axis of RAS that is cut, axes of the columns and rows, letters at the edges. All run against RAS.
_PLANES = (
    ("axial", 2, 0, 1, ("R", "L", "A", "P")),
    ("coronal", 1, 0, 2, ("R", "L", "S", "I")),
    ("sagittal", 0, 1, 2, ("A", "P", "S", "I")),
)


def case_pictures(
    prediction: Volume,
    reference: Volume,
    image: Volume | None,
    *,
    prediction_task: Task,
    reference_task: Task,
    left_out: Collection[str] = (),
) -> tuple[Plane, ...]:
    """Draw a case.

    Args:
        prediction: label values 1 x X x Y x Z as stored.
        reference: the same, on the same grid.
        image: scan C x X x Y x Z on the same grid, of which the first channel is shown. If None, draws on black.
        prediction_task: what the label values of the prediction mean.
        reference_task: the same of the reference, with the same structures by name.
        left_out: structures that were not looked for in the reference: they are drawn nowhere.

    Returns:
        Axial, coronal, sagittal plane, each where the largest connected error has the most voxels; where there is no
        error, where the reference has the most.
    """
    geometry = reference.geometry
    ours = _to_ras(_paint(prediction.array[0], prediction_task, reference_task, left_out), geometry)
    theirs = _to_ras(_paint(reference.array[0], reference_task, reference_task, left_out), geometry)
    scan = None if image is None else _to_ras(image.array[0], geometry)
    grey = None if scan is None else _window(scan, reference_task.modality)
    spacing = np.array(geometry.spacing_mm)[_ras_axes(geometry)]
    place = _largest_error(ours, theirs)
    nested = nested_structures(reference_task)
    return tuple(_plane(plane, place, ours, theirs, grey, spacing, nested) for plane in _PLANES)


def nested_structures(task: Task) -> dict[int, list[int]]:
    """By structure, outer ones first: the indices, from 1, that its voxels are painted with."""
    parts = [set(target.labels) for target in task.targets]
    return {
        index + 1: [inner + 1 for inner, labels in enumerate(parts) if labels <= parts[index]]
        for index in task.painting_order
    }


def _paint(labels: NDArray[Any], task: Task, order: Task, left_out: Collection[str]) -> NDArray[np.int32]:
    """Index of the structure, from 1, of every voxel; inner regions over outer ones."""
    by_name: dict[str, Target] = {target.name: target for target in task.targets}
    table = np.zeros(int(labels.max(initial=0)) + 1, np.int32)  # there may be more than 255 structures
    for index in order.painting_order:
        name = order.targets[index].name
        for value in by_name[name].labels:
            if value < table.size and name not in left_out:
                table[value] = index + 1
    painted: NDArray[np.int32] = table[labels]
    return painted


def _ras_axes(geometry: Geometry) -> list[int]:
    """The stored axis that runs along R, A and S."""
    return [
        next(axis for axis, letter in enumerate(geometry.orientation) if letter in pair) for pair in ("LR", "PA", "IS")
    ]


def _to_ras(array: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """X x Y x Z with axes that run towards R, A and S, as nearly as whole axes can."""
    axes = _ras_axes(geometry)
    steps = tuple(slice(None, None, 1 if geometry.orientation[axis] in "RAS" else -1) for axis in axes)
    turned: NDArray[Any] = array.transpose(axes)[steps]
    return turned


def _window(scan: NDArray[Any], modality: str) -> NDArray[np.uint8]:
    if modality == "CT":
        low, high = _CT_WINDOW
    else:
        outside = scan == scan.flat[0]
        inside = scan[~outside]
        low, high = np.percentile(inside, (1, 99)) if inside.size else (0.0, 1.0)
        low = min(float(low), float(scan.min())) if low == high else low
        if outside.mean() > _OUTSIDE:
            scan = np.where(outside, low, scan)  # black, also where 0 is the mean of the brain
    return (np.clip((scan - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)


def _largest_error(ours: NDArray[np.int32], theirs: NDArray[np.int32]) -> tuple[int, int, int]:
    """Index along R, A and S of the planes that cut most of the largest connected error."""
    wrong = ours != theirs
    box = ndimage.find_objects(wrong.astype(np.uint8))
    if box:
        components, number = ndimage.label(wrong[box[0]], np.ones((3, 3, 3)))
        sizes = np.bincount(components.ravel(), minlength=number + 1)
        shown = components == 1 + int(np.argmax(sizes[1:]))
        start = [part.start for part in box[0]]
    else:
        shown, start = theirs > 0, [0, 0, 0]
        if not shown.any():
            x, y, z = (size // 2 for size in theirs.shape)
            return x, y, z
    counts = (shown.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3))
    x, y, z = (offset + int(np.argmax(count)) for offset, count in zip(start, counts, strict=True))
    return x, y, z


def _plane(
    plane: tuple[str, int, int, int, tuple[str, str, str, str]],
    place: Sequence[int],
    ours: NDArray[np.int32],
    theirs: NDArray[np.int32],
    grey: NDArray[np.uint8] | None,
    spacing: NDArray[np.float64],
    nested: Mapping[int, Sequence[int]],
) -> Plane:
    name, cut, columns, rows, sides = plane
    # Rows downwards, columns to the right: both against the direction of their RAS axis.
    flat = [
        None if volume is None else np.take(volume, place[cut], axis=cut).T[::-1, ::-1]
        for volume in (ours, theirs, grey)
    ]
    predicted, expected, scan = flat
    assert predicted is not None
    assert expected is not None
    across, down = float(spacing[columns]), float(spacing[rows])
    window = _crop((predicted > 0) | (expected > 0), (down, across))
    height_mm, width_mm = (part.stop - part.start for part in window)
    height_mm, width_mm = height_mm * down, width_mm * across
    scale = PIXELS / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    predicted, expected = (_enlarge(part[window], size) for part in (predicted, expected))
    seen = set(np.unique(np.concatenate([predicted.ravel(), expected.ravel()])).tolist())
    return Plane(
        name=name,
        sides=sides,
        width=size[0],
        height=size[1],
        scan=None if scan is None else _scan_uri(scan[window], size),
        reference=_labels_uri(expected, nested),
        prediction=_labels_uri(predicted, nested),
        difference=_difference_uri(predicted, expected),
        structures=tuple(sorted(index - 1 for index, parts in nested.items() if seen & set(parts))),
    )


def _crop(shown: NDArray[np.bool_], spacing: tuple[float, float]) -> tuple[slice, slice]:
    """The part of a plane with what is shown and a margin; all of it if nothing is shown."""
    parts = []
    for axis in (0, 1):
        where = np.flatnonzero(shown.any(axis=1 - axis))
        size = shown.shape[axis]
        if not where.size:
            parts.append(slice(0, size))
            continue
        least = (_LEAST_MM / spacing[axis] - (where[-1] - where[0] + 1)) / 2
        margin = int(np.ceil(max(_MARGIN_MM / spacing[axis], least)))
        parts.append(slice(max(0, int(where[0]) - margin), min(size, int(where[-1]) + 1 + margin)))
    return parts[0], parts[1]


def _enlarge(labels: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.int32]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(labels)).resize(size, Image.Resampling.NEAREST))


def _edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels beside another label, on both sides of the border."""
    edge: NDArray[np.bool_] = ndimage.maximum_filter(labels, 3) != ndimage.minimum_filter(labels, 3)
    return edge


def _labels_uri(labels: NDArray[np.int32], nested: Mapping[int, Sequence[int]]) -> str:
    """Every structure in its colour, thin inside and full on its outline.

    A region that holds others is outlined around itself, so that its line is seen where an inner one's is the same.
    """
    indices = np.where(labels == 0, 0, 1 + (labels.astype(int) - 1) % len(COLOURS))
    for index, parts in nested.items():
        mask = np.isin(labels, parts)
        if mask.any():
            outline = _edges(mask) & (mask if len(parts) == 1 else ~mask)
            indices[outline] = 1 + (index - 1) % len(COLOURS) + len(COLOURS)
    indices = indices.astype(np.uint8)
    return _palette_uri(indices, [(colour, 70) for colour in COLOURS] + [(colour, 255) for colour in COLOURS])


def _difference_uri(predicted: NDArray[np.int32], expected: NDArray[np.int32]) -> str:
    """Missed, invented, taken for another structure; the outline of the reference in white."""
    kind = np.select([predicted == expected, predicted == 0, expected == 0], [0, 1, 2], default=3).astype(np.uint8)
    indices = np.where(kind > 0, kind, np.where(_edges(expected) & (expected > 0), 4, 0)).astype(np.uint8)
    return _palette_uri(indices, [(MISSED, 235), (INVENTED, 235), (CONFUSED, 235), ("#FFFFFF", 150)])


def _palette_uri(indices: NDArray[np.uint8], colours: Sequence[tuple[str, int]]) -> str:
    """PNG of 0 as transparent and the n-th colour and opacity for n."""
    picture = Image.fromarray(np.ascontiguousarray(indices))
    picture.putpalette(bytes(3) + b"".join(bytes.fromhex(colour[1:]) for colour, _ in colours))
    return _uri(picture, "png", optimize=True, transparency=bytes([0, *(opacity for _, opacity in colours)]))


def _scan_uri(grey: NDArray[np.uint8], size: tuple[int, int]) -> str:
    picture = Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.BICUBIC)
    return _uri(picture, "webp", quality=75, method=4)


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
