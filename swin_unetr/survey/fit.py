"""How well a label map sits on its image, and how well its mirror images would.

The surface of a labelled structure goes along edges of the image, and always from dark to bright or always from bright
to dark. So the gradient along the outward normal, averaged over the surface with its sign, is large where the label
belongs, and next to nothing where it was put by chance: on a mirrored place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.survey.facts import Fit
from transforms.content import AXIS_OF_LETTER
from transforms.geometry import Geometry

#: Voxels of the surface that are looked at.
_SURFACE = 30_000
#: Longest side of the coarse grid on which the body is told from the air.
_COARSE = 64
#: Air is quiet: its deviation is below this share of what separates it from the body.
_QUIET = 0.12
_STEPS = np.vstack([np.eye(3, dtype=np.int64), -np.eye(3, dtype=np.int64)])


def fit(channel: NDArray[Any], labels: NDArray[np.uint16], geometry: Geometry, rng: np.random.Generator) -> Fit | None:
    """Compare a label map with a channel; none where there is nothing to compare.

    Args:
        channel: X x Y x Z.
        labels: of the same shape.
        geometry: of both.
        rng: draws the voxels that are looked at.
    """
    if min(labels.shape) < 3:
        return None
    surface = _surface(labels, rng)
    if surface is None:
        return None
    shape = np.array(labels.shape)
    gradient = _Gradient(channel, np.array(geometry.spacing_mm))
    axis_of = {AXIS_OF_LETTER[letter]: axis for axis, letter in enumerate(geometry.orientation)}
    mirrored = []
    for world in range(3):
        axis = axis_of[world]
        at, normals = surface.at.copy(), surface.normals.copy()
        at[:, axis] = shape[axis] - 1 - at[:, axis]
        normals[:, axis] *= -1
        mirrored.append(_agreement(gradient, at, normals, surface.values))
    body = _body(channel)
    return Fit(
        edges=_agreement(gradient, surface.at, surface.normals, surface.values),
        mirrored=(mirrored[0], mirrored[1], mirrored[2]),
        outside_body=None if body is None else _outside(body, labels),
        body_centre_mm=_centre(body, labels, geometry),
    )


@dataclass(frozen=True, eq=False)
class _Surface:
    """Labelled voxels with a neighbour of another value: positions, outward normals, values."""

    at: NDArray[np.int64]
    normals: NDArray[np.float64]
    values: NDArray[np.uint16]


def _surface(labels: NDArray[np.uint16], rng: np.random.Generator) -> _Surface | None:
    found = []
    for z in range(1, labels.shape[2] - 1):
        plane = labels[1:-1, 1:-1, z]
        if plane.any():
            edge = np.zeros(plane.shape, bool)
            for neighbour in (labels[:-2, 1:-1, z], labels[2:, 1:-1, z], labels[1:-1, :-2, z], labels[1:-1, 2:, z]):
                edge |= neighbour != plane
            edge |= (labels[1:-1, 1:-1, z - 1] != plane) | (labels[1:-1, 1:-1, z + 1] != plane)
            x, y = np.nonzero(edge & (plane > 0))
            found.append(np.stack([x + 1, y + 1, np.full(x.size, z)], axis=1))
    at = np.concatenate(found) if found else np.zeros((0, 3), np.int64)
    if len(at) < 20:
        return None
    if len(at) > _SURFACE:
        at = at[np.sort(rng.choice(len(at), _SURFACE, replace=False))]
    values = labels[tuple(at.T)]
    inside = [(labels[tuple((at + step).T)] == values).astype(np.float64) for step in _STEPS]
    normals = np.stack([inside[axis + 3] - inside[axis] for axis in range(3)], axis=1)
    return _Surface(at, normals, values)


class _Gradient:
    """Central differences of a channel at single voxels, per mm."""

    def __init__(self, channel: NDArray[Any], spacing: NDArray[np.float64]) -> None:
        self._channel, self._spacing = channel, spacing
        self._last = np.array(channel.shape) - 1

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        values = []
        for axis in range(3):
            step = np.eye(3, dtype=np.int64)[axis]
            after = np.clip(positions + step, 0, self._last)
            before = np.clip(positions - step, 0, self._last)
            change = self._channel[tuple(after.T)].astype(np.float64) - self._channel[tuple(before.T)]
            values.append(change / (2 * self._spacing[axis]))
        return np.nan_to_num(np.stack(values, axis=1), posinf=0.0, neginf=0.0)


def _agreement(
    gradient: _Gradient, at: NDArray[np.int64], normals: NDArray[np.float64], values: NDArray[np.uint16]
) -> float:
    """Of the gradient and the normal, -1..1 for each structure; the mean of its size over structures."""
    slopes = gradient.at(at)
    lengths = np.linalg.norm(slopes, axis=1) * np.linalg.norm(normals, axis=1)
    along = (slopes * normals).sum(axis=1)
    total = np.bincount(values, weights=lengths)
    signed = np.abs(np.bincount(values, weights=along))
    seen = total > 0
    weights = np.bincount(values)[seen]
    return round(float(np.average(signed[seen] / total[seen], weights=weights)), 5) if seen.any() else 0.0


def _body(channel: NDArray[Any]) -> NDArray[np.bool_] | None:
    """The patient on a coarse grid; none where the picture shows no air around (a crop)."""
    from scipy.ndimage import binary_fill_holes, label

    step = _steps(channel.shape)
    coarse = np.nan_to_num(channel[:: step[0], :: step[1], :: step[2]].astype(np.float64), posinf=0.0, neginf=0.0)
    zero = np.abs(coarse) < 1e-3 * coarse.std()
    # Skull-stripped and normalised: the air is 0, and the brain is on both sides of it.
    air = zero if zero.mean() > 0.1 and coarse.min() < -1e-3 * coarse.max() and coarse.min() > -200 else None
    air = coarse < _threshold(coarse) if air is None else air
    parts, _ = label(air)
    faces = [parts[(slice(None),) * axis + (end,)] for axis in range(2) for end in (0, -1)]
    around = np.isin(parts, np.unique(np.concatenate([face.ravel() for face in faces]))) & air
    if not 0.02 < around.mean() < 0.98:
        return None
    contrast = abs(float(np.median(coarse[~around])) - float(np.median(coarse[around])))
    if float(coarse[around].std()) > _QUIET * max(contrast, 1e-12) and not zero[around].all():
        return None
    body = ~around
    for z in range(body.shape[2]):
        body[..., z] = binary_fill_holes(body[..., z])
    return body


def _steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, -(-length // _COARSE)) for length in shape)


def _threshold(values: NDArray[np.float64]) -> float:
    """Otsu's: the value that splits the histogram into two classes as far apart as can be."""
    low, high = np.percentile(values, [0.5, 99.5])
    counts, edges = np.histogram(np.clip(values, low, high), 128)
    centres = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(apart))]) if np.isfinite(apart).any() else float(low)


def _outside(body: NDArray[np.bool_], labels: NDArray[np.uint16]) -> float | None:
    step = _steps(labels.shape)
    coarse = labels[:: step[0], :: step[1], :: step[2]] > 0
    return round(float((coarse & ~body).sum() / coarse.sum()), 5) if coarse.any() else None


def _centre(
    body: NDArray[np.bool_] | None, labels: NDArray[np.uint16], geometry: Geometry
) -> tuple[float, float, float]:
    """Of the body, or of the grid where no body is told."""
    step = _steps(labels.shape)
    at = (np.array(labels.shape) - 1) / 2
    if body is not None and body.any():
        at = np.array([float(places.mean()) for places in np.nonzero(body)]) * step
    x, y, z = geometry.affine[:3, :3] @ at + geometry.affine[:3, 3]
    return round(float(x), 2), round(float(y), 2), round(float(z), 2)
