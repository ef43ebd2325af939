"""The three grids of a scan, and the way back from the network's to the file's.

The file's voxels (source) are turned to RAS and cropped to the foreground (native), and resampled (prepared). Back,
native voxels are interpolated from prepared ones, and put where they belong in the file's array.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation, Spacing
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.errors import GeometryError
from transforms.geometry import Geometry
from transforms.linear import Box, GridMap
from transforms.steps import Orient

#: Grids whose affines differ by less are the same, and nothing is resampled; as in MONAI.
_SAME_AFFINE = 1e-3


@dataclass(frozen=True, eq=False)
class Turn:
    """From stored axes to RAS: the order and the direction of the axes; no voxel is moved."""

    source_shape: Triple
    #: Stored axis that lies along each RAS axis.
    axes: Triple
    #: Whether that axis runs in the opposite direction.
    flipped: tuple[bool, bool, bool]
    #: 4x4, index in the turned grid to RAS millimetres.
    affine: NDArray[np.float64]

    @classmethod
    def to_ras(cls, geometry: Geometry) -> Turn:
        """The turn of a file's grid, as MONAI's `Orientation` chooses it."""
        orient = Orient()
        turn = Orientation(axcodes=orient.axes, labels=orient.directions, lazy=True)
        turned = turn(_grid(geometry.affine, geometry.shape))
        affine = np.asarray(turned.peek_pending_affine(), np.float64)
        to_source = np.rint(np.linalg.solve(geometry.affine, affine)[:3, :3]).astype(int)
        if not (np.abs(to_source).sum(axis=0) == 1).all():
            raise GeometryError("two axes of a scan have the same direction; correct its affine")
        x, y, z = (int(axis) for axis in np.abs(to_source).argmax(axis=0))
        one, two, three = (bool(to_source[axis, column] < 0) for column, axis in enumerate((x, y, z)))
        return cls(geometry.shape, (x, y, z), (one, two, three), affine)

    @property
    def shape(self) -> Triple:
        """Voxels along the RAS axes."""
        x, y, z = (self.source_shape[axis] for axis in self.axes)
        return x, y, z

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array (... x X x Y x Z as stored) with its axes in RAS order; the same memory."""
        lead = array.ndim - 3
        turned = array.transpose(*range(lead), *(axis + lead for axis in self.axes))
        x, y, z = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        view: NDArray[Any] = turned[..., x, y, z]
        return view


@dataclass(frozen=True, eq=False)
class Grids:
    """From the prepared grid of a scan to the grid of its file.

    Attributes:
        turn: from the file's axes to RAS.
        crop: box of the turned grid that was kept, the native grid.
        prepared_shape: voxels of the prepared grid.
        prepared_affine: 4x4, prepared index to RAS millimetres.
    """

    turn: Turn
    crop: Box
    prepared_shape: Triple
    prepared_affine: NDArray[np.float64]

    @classmethod
    def of(cls, turn: Turn, crop: Box, spacing_mm: tuple[float, float, float] | None) -> Grids:
        """The grids of a scan of which `crop` (a box of the turned grid) is resampled to a voxel size.

        The prepared grid is the one that MONAI's `Spacing` makes, as in training.
        """
        native, shape = _native_affine(turn, crop), _shape(crop)
        if spacing_mm is None:
            return cls(turn, crop, shape, native)
        return cls(turn, crop, *spaced_grid(native, shape, spacing_mm))

    @classmethod
    def uncropped(cls, geometry: Geometry, spacing_mm: tuple[float, float, float] | None) -> Grids:
        """The grids of a scan that is not cropped: the largest that it can have."""
        turn = Turn.to_ras(geometry)
        x, y, z = turn.shape
        return cls.of(turn, ((0, x), (0, y), (0, z)), spacing_mm)

    @property
    def source_shape(self) -> Triple:
        """Voxels of the file's grid, in stored order."""
        return self.turn.source_shape

    @property
    def native_shape(self) -> Triple:
        """Voxels of the file's grid, turned to RAS and cropped."""
        return _shape(self.crop)

    @property
    def native_affine(self) -> NDArray[np.float64]:
        """4x4, native index to RAS millimetres."""
        return _native_affine(self.turn, self.crop)

    @property
    def native_mm(self) -> tuple[float, float, float]:
        """Voxel size of the native grid along the RAS axes."""
        return voxel_size(self.turn.affine)

    @cached_property
    def resampled(self) -> bool:
        """Whether prepared and native grid differ."""
        return not (
            self.prepared_shape == self.native_shape and np.array_equal(self.prepared_affine, self.native_affine)
        )

    @cached_property
    def map(self) -> GridMap:
        """Where native voxels lie in the prepared grid."""
        x, y, z = self.prepared_shape
        matrix: NDArray[np.float64] = np.eye(4)
        if self.resampled:
            matrix = np.asarray(np.linalg.solve(self.prepared_affine, self.native_affine), np.float64)
        return GridMap(matrix, self.native_shape, ((0, x), (0, y), (0, z)))

    def needed(self, axis: int, native: range | slice) -> tuple[int, int]:
        """Prepared planes [first, last) from which native planes of an axis are interpolated.

        Args:
            axis: 0, 1 or 2.
            native: planes, not empty.
        """
        return self.map.needed(axis, native)

    def interpolate(self, block: Tensor, start: Triple, box: Box) -> Tensor:
        """Bring scores of the prepared grid to a box of the native grid, linearly, clamped at the border.

        Each voxel has the same value, to the last bit, whatever the box and the block.

        Args:
            block: channels x dx x dy x dz of the prepared grid, on any device; holds all planes `needed`.
            start: index of its first voxel in the prepared grid.
            box: of the native grid.

        Returns:
            float32, channels x box; shares the block's memory if nothing was resampled.
        """
        return self.map.sample(block, start, box)

    def place(self, part: NDArray[Any], box: Box, out: NDArray[Any]) -> None:
        """Put a box of the native grid where it belongs in the file's array.

        Args:
            part: ... x box.
            box: of the native grid.
            out: ... x X x Y x Z in the file's stored order, written in place. NIfTI files need Fortran order (X
                fastest).
        """
        x, y, z = (slice(first + low, first + high) for (first, _), (low, high) in zip(self.crop, box, strict=True))
        self.turn.view(out)[..., x, y, z] = part


def spaced_grid(
    affine: NDArray[np.float64], shape: Triple, spacing_mm: tuple[float, float, float]
) -> tuple[Triple, NDArray[np.float64]]:
    """The grid of a voxel size that MONAI's `Spacing` makes of a grid: its shape and affine.

    If the two are the same up to rounding, it is the given grid itself.

    Args:
        affine: 4x4, of the given grid in RAS order.
        shape: its voxels.
        spacing_mm: along its axes.
    """
    spaced = Spacing(pixdim=spacing_mm, lazy=True)(_grid(affine, shape))
    found = np.asarray(spaced.peek_pending_affine(), np.float64)
    x, y, z = (int(size) for size in spaced.peek_pending_shape())
    step = np.linalg.solve(affine, found)
    near = np.allclose(affine, found, atol=_SAME_AFFINE) or np.allclose(step, np.eye(4), atol=_SAME_AFFINE)
    return (shape, affine) if (x, y, z) == shape and near else ((x, y, z), found)


def voxel_size(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Lengths of a voxel's edges along the axes of a grid, in mm."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return x, y, z


def _grid(affine: NDArray[np.float64], shape: Triple) -> MetaTensor:
    """A grid for MONAI to calculate with; its voxels take no memory."""
    return MetaTensor(torch.zeros(1).expand(1, *shape), affine=torch.from_numpy(np.array(affine, np.float64)))


def _shape(box: Box) -> Triple:
    x, y, z = (stop - start for start, stop in box)
    return x, y, z


def _native_affine(turn: Turn, crop: Box) -> NDArray[np.float64]:
    affine: NDArray[np.float64] = turn.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [start for start, _ in crop]
    return affine
