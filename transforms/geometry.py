"""The grid of an image in the patient's millimetres, and how two grids differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.config import Triple
from swin_unetr.errors import GeometryError
from transforms.note import Note

#: Largest distance between corresponding corners of two grids that still count as one, in millimetres. Files of one
#: scan that went through different programs differ by rounding (float32 quaternions: some 1e-3 mm).
TOLERANCE_MM = 0.05

#: Letters of the patient's axes X, Y, Z, negative and positive.
DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a stored array lie.

    Attributes:
        shape: voxels along the stored axes X, Y, Z.
        affine: 4x4 float64, voxel index to RAS millimetres, as stored.
        nifti_header: header of the NIfTI file that it comes from, so that what is written on the same grid keeps
            codes, units and version. None for other formats.
    """

    shape: Triple
    affine: NDArray[np.float64]
    nifti_header: Any = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along the stored axes."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """Direction of the stored axes by letters, such as RAS or LPS."""
        directions = self.affine[:3, :3] / self.spacing_mm
        strength = np.abs(directions)
        letters = [""] * 3
        # The clearest axis chooses first; the others choose from what is left.
        for axis in np.argsort(-strength.max(axis=0), kind="stable"):
            world = int(np.argmax(strength[:, axis]))
            strength[world] = -1
            letters[axis] = DIRECTIONS[world][int(directions[world, axis] > 0)]
        return "".join(letters)

    def difference(self, other: Geometry, tolerance_mm: float = TOLERANCE_MM) -> str | None:
        """How another grid differs from this one, in words that name every difference. None if it does not.

        Grids are the same when they have the same shape and none of their corners lie further apart than the
        tolerance.
        """
        corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(self.shape) - 1)
        apart = corners @ (self.affine - other.affine)[:3, :3].T + (self.affine - other.affine)[:3, 3]
        distance = float(np.linalg.norm(apart, axis=1).max())
        parts = [f"shape {_by(self.shape)} and {_by(other.shape)}"] if self.shape != other.shape else []
        if distance <= tolerance_mm:
            return parts[0] if parts else None
        if self.orientation != other.orientation:
            parts.append(f"orientation {self.orientation} and {other.orientation}")
        elif not np.allclose(self.spacing_mm, other.spacing_mm, rtol=1e-3):
            parts.append(f"spacing {_by(self.spacing_mm)} and {_by(other.spacing_mm)} mm")
        shift = float(np.linalg.norm(self.affine[:3, 3] - other.affine[:3, 3]))
        if not parts or shift > tolerance_mm:
            parts.append(f"position: origins {shift:.3g} mm apart, corners up to {distance:.3g} mm")
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class Volume:
    """An array C x X x Y x Z in stored order, its grid, and what is odd about its file."""

    array: NDArray[Any]
    geometry: Geometry
    notes: tuple[Note, ...] = ()


def require_same_geometry(path: Path, geometry: Geometry, reference_path: Path, reference: Geometry) -> None:
    """Refuse two files that should lie on one grid and do not.

    Raises:
        GeometryError: names both files, and what differs by how much.
    """
    if difference := geometry.difference(reference):
        raise GeometryError(
            f"{path}: does not lie on the grid of {reference_path} ({difference}); resample one of them"
        )


def _by(values: tuple[float, ...]) -> str:
    return "x".join(f"{value:.6g}" for value in values)
