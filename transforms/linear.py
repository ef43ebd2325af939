"""Interpolation between two grids, block by block, without an array of the size of a whole grid.

Every voxel of the result is computed by the same operations in any block, so that results do not depend on how a volume
is cut. All interpolations are local for that reason; the cubic one is Catmull and Rom's (Keys, IEEE Transactions on
Acoustics, Speech, and Signal Processing 29:1153, 1981, a = -1/2), which reads four voxels along an axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.config import Triple

#: (start, stop) along each of three axes.
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: How far the axes of two parallel grids may be turned or sheared against each other, in voxels at the far corner.
#: Affines of files are rounded to float32: over 512 voxels that alone is some 1e-4.
_PARALLEL = 1e-3
#: A position this close to a voxel is that voxel; one this close to the middle between two belongs to the upper one.
_ON_VOXEL = 1e-5
#: Voxels that are interpolated at once if grids are not parallel; each takes some 30 bytes besides its channels.
AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class Taps:
    """From which voxels of one axis each voxel of the target is interpolated.

    Attributes:
        voxels: taps x target voxels, indices in the given grid. The first tap is the voxel that a position is at.
        weights: float32, their weights; 1 together.
    """

    voxels: NDArray[np.int64]
    weights: NDArray[np.float32]

    def part(self, target: slice, start: int) -> Taps:
        """Those of a part of the target, in a block that begins at voxel `start`."""
        return Taps(self.voxels[:, target] - start, self.weights[:, target])

    @property
    def is_choice(self) -> bool:
        """Whether each voxel of the target is a given one."""
        return not self.weights[1:].any()

    @property
    def is_copy(self) -> bool:
        """Whether the target is a run of the given voxels."""
        return self.is_choice and bool((np.diff(self.voxels[0]) == 1).all())


@dataclass(frozen=True, eq=False)
class GridMap:
    """Where the voxels of a target grid lie in a given grid; outside its bounds the nearest voxel counts.

    Attributes:
        matrix: 4x4, index in the target grid to index in the given grid.
        target_shape: voxels of the target grid.
        bounds: part of the given grid that counts; positions outside are moved to its border.
        orders: of the interpolation along each axis: 0 takes the nearest voxel, 1 is linear, 3 is cubic. Grids that
            are not parallel have no axes in common: between them, everything is linear.
    """

    matrix: NDArray[np.float64]
    target_shape: Triple
    bounds: Box
    orders: Triple = (1, 1, 1)

    @cached_property
    def parallel(self) -> bool:
        """Whether axes of one grid are axes of the other, so that each can be interpolated by itself."""
        off = np.abs(self.matrix[:3, :3] - np.diag(np.diag(self.matrix)[:3])) @ np.array(self.target_shape)
        return bool((off < _PARALLEL).all())

    @cached_property
    def _taps(self) -> tuple[Taps, ...]:
        """By axis; for parallel grids."""
        return tuple(map(self._taps_of, range(3)))

    def _taps_of(self, axis: int) -> Taps:
        start, stop = self.bounds[axis]
        position = self.matrix[axis, axis] * np.arange(self.target_shape[axis]) + self.matrix[axis, 3]
        position = np.clip(position, start, stop - 1)
        if self.orders[axis] == 0:
            nearest = np.floor(position + 0.5 + _ON_VOXEL).astype(np.int64)[None]
            return Taps(np.minimum(nearest, stop - 1), np.ones(nearest.shape, np.float32))
        nearest = np.rint(position)
        position = np.where(np.abs(position - nearest) < _ON_VOXEL, nearest, position)
        low = np.floor(position).astype(np.int64)
        weight = position - low
        if self.orders[axis] == 1:
            upper = weight.astype(np.float32)
            return Taps(np.stack([low, low + (upper > 0)]), np.stack([1 - upper, upper]))
        voxels = np.clip(np.stack([low, low + 1, low - 1, low + 2]), start, stop - 1)
        return Taps(voxels, _cubic_weights(weight))

    def needed(self, axis: int, target: range | slice) -> tuple[int, int]:
        """Planes [first, last) of the given grid from which planes of the target grid are interpolated.

        Args:
            axis: 0, 1 or 2, the same in both grids.
            target: planes of the target grid, not empty.
        """
        if self.parallel:
            voxels = self._taps[axis].voxels[:, target.start : target.stop]
            return int(voxels.min()), int(voxels.max()) + 1
        # Grids turned against each other: the other axes count too, in their whole length.
        ends = [np.array([0, size - 1]) for size in self.target_shape]
        ends[axis] = np.array([target.start, target.stop - 1])
        corners = np.stack([*(grid.ravel() for grid in np.meshgrid(*ends)), np.ones(8)])
        start, stop = self.bounds[axis]
        position = np.clip(self.matrix[axis] @ corners, start, stop - 1)
        return int(np.floor(position.min())), min(int(np.floor(position.max())) + 2, stop)

    def reached(self, axis: int, given: range | slice) -> tuple[int, int]:
        """Planes [first, last) of the target grid in which planes of the given grid have a part; [0, 0) if none.

        Args:
            axis: 0, 1 or 2, the same in both grids.
            given: planes of the given grid, not empty.
        """
        if not self.parallel:
            return 0, self.target_shape[axis]
        taps = self._taps[axis]
        theirs = (taps.voxels >= given.start) & (taps.voxels < given.stop) & (taps.weights != 0)
        planes = np.flatnonzero(theirs.any(axis=0))
        return (int(planes[0]), int(planes[-1]) + 1) if planes.size else (0, 0)

    def sample(self, block: Tensor, start: Triple, box: Box, order: Triple = (2, 1, 0)) -> Tensor:
        """Interpolate a box of the target grid.

        Args:
            block: channels x dx x dy x dz, on any device; part of the given grid that holds all that is `needed`.
            start: index of the block's first voxel in the given grid.
            box: of the target grid.
            order: of the axes, if the grids are parallel. It is fastest if axes that grow come last.

        Returns:
            float32, channels x box, on the same device; may share memory with the block.
        """
        block = block.float()
        if not self.parallel:
            return self._sample_turned(block, start, box)
        for axis in order:
            block = _along(block, axis + 1, self._taps[axis].part(slice(*box[axis]), start[axis]))
        return block

    def _sample_turned(self, block: Tensor, start: Triple, box: Box) -> Tensor:
        """The same for grids whose axes are not parallel: oblique to each other, or one of them sheared."""
        sizes = [stop - first for first, stop in box]
        result = block.new_empty((len(block), *sizes))
        planes = max(AT_ONCE // (sizes[1] * sizes[2]), 1)
        for first in range(*box[0], planes):
            last = min(first + planes, box[0][1])
            part = self._positions(((first, last), box[1], box[2]), start, tuple(block.shape[1:]))
            # Channels as a batch: on the CPU, grid_sample has threads for samples alone.
            positions = torch.from_numpy(part).to(block.device).expand(len(block), -1, -1, -1, -1)
            sampled = torch.nn.functional.grid_sample(
                block[:, None], positions, mode="bilinear", padding_mode="border", align_corners=True
            )
            result[:, first - box[0][0] : last - box[0][0]] = sampled[:, 0]
        return result

    def _positions(self, box: Box, start: Triple, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Positions in a block as `grid_sample` needs them: -1..1, the last axis first; box x 3."""
        indices = np.ogrid[tuple(slice(*ends) for ends in box)]
        positions = np.empty((*(stop - first for first, stop in box), 3), np.float32)
        for axis in range(3):
            row = self.matrix[axis]
            position = row[0] * indices[0] + row[1] * indices[1] + row[2] * indices[2] + row[3]
            position = np.clip(position, self.bounds[axis][0], self.bounds[axis][1] - 1) - start[axis]
            positions[..., 2 - axis] = position * (2 / max(shape[axis] - 1, 1)) - 1
        return positions


def _cubic_weights(beyond: NDArray[np.float64]) -> NDArray[np.float32]:
    """Weights of the voxel below a position, and of those at +1, -1 and +2 from it: 4 x positions.

    Args:
        beyond: distance of each position from the voxel below it, in voxels.
    """
    square, cube = beyond**2, beyond**3
    above = (beyond + 4 * square - 3 * cube) / 2
    before = (-beyond + 2 * square - cube) / 2
    after = (cube - square) / 2
    others = np.stack([above, before, after]).astype(np.float32)
    # Together they are 1 up to one rounding, so that a constant stays a constant.
    lower = (1 - others.sum(axis=0, dtype=np.float64)).astype(np.float32)
    return np.concatenate([lower[None], others])


def _along(block: Tensor, dim: int, taps: Taps) -> Tensor:
    """Interpolate one dimension: entry i of the result is the weighted sum of the block's entries taps.voxels[:, i]."""
    if taps.is_copy:
        return block.narrow(dim, int(taps.voxels[0, 0]), taps.voxels.shape[1])
    # A product, a product and a sum, each rounded: fused operations round differently at the ends of vectors.
    if dim == block.ndim - 1 or block.device.type != "cpu":
        return _along_at_once(block, dim, taps)
    sizes = list(block.shape)
    sizes[dim] = taps.voxels.shape[1]
    result = block.new_empty(sizes)
    for index, (voxels, weights) in enumerate(zip(taps.voxels.T.tolist(), taps.weights.T.tolist(), strict=True)):
        target = result.select(dim, index)
        if not any(weights[1:]):
            target.copy_(block.select(dim, voxels[0]))
            continue
        torch.mul(block.select(dim, voxels[0]), weights[0], out=target)
        for voxel, weight in zip(voxels[1:], weights[1:], strict=True):
            target.add_(block.select(dim, voxel) * weight)
    return result


def _along_at_once(block: Tensor, dim: int, taps: Taps) -> Tensor:
    """The same for all entries together, tap by tap."""
    shape = (-1,) + (1,) * (block.ndim - 1 - dim)
    voxels = torch.from_numpy(taps.voxels).to(block.device)
    weights = torch.from_numpy(taps.weights).to(block.device)
    result = block.index_select(dim, voxels[0])
    if taps.is_choice:
        return result
    result.mul_(weights[0].view(shape))
    for entries, share in zip(voxels[1:], weights[1:], strict=True):
        result.add_(block.index_select(dim, entries).mul_(share.view(shape)))
    return result
