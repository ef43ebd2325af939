"""Linear interpolation between two grids, block by block, without an array of the size of a whole grid.

Every voxel of the result is computed by the same operations in any block, so that results do not depend on how a volume
is cut.
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
#: A position this close to a voxel is that voxel.
_ON_VOXEL = 1e-5
#: Voxels that are interpolated at once if grids are not parallel; each takes some 30 bytes besides its channels.
AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class GridMap:
    """Where the voxels of a target grid lie in a given grid; outside its bounds the nearest voxel counts.

    Attributes:
        matrix: 4x4, index in the target grid to index in the given grid.
        target_shape: voxels of the target grid.
        bounds: part of the given grid that counts; positions outside are moved to its border.
    """

    matrix: NDArray[np.float64]
    target_shape: Triple
    bounds: Box

    @cached_property
    def parallel(self) -> bool:
        """Whether axes of one grid are axes of the other, so that each can be interpolated by itself."""
        off = np.abs(self.matrix[:3, :3] - np.diag(np.diag(self.matrix)[:3])) @ np.array(self.target_shape)
        return bool((off < _PARALLEL).all())

    @cached_property
    def _tables(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], ...]:
        """Lower voxel, upper voxel and weight of the upper one, by axis and target index; for parallel grids."""
        tables = []
        for axis, (size, (start, stop)) in enumerate(zip(self.target_shape, self.bounds, strict=True)):
            position = self.matrix[axis, axis] * np.arange(size) + self.matrix[axis, 3]
            position = np.clip(position, start, stop - 1)
            nearest = np.rint(position)
            position = np.where(np.abs(position - nearest) < _ON_VOXEL, nearest, position)
            low = np.floor(position).astype(np.int64)
            weight = (position - low).astype(np.float32)
            tables.append((low, low + (weight > 0), weight))
        return tuple(tables)

    def needed(self, axis: int, target: range | slice) -> tuple[int, int]:
        """Planes [first, last) of the given grid from which planes of the target grid are interpolated.

        Args:
            axis: 0, 1 or 2, the same in both grids.
            target: planes of the target grid, not empty.
        """
        if self.parallel:
            low, high, _ = self._tables[axis]
            return (
                int(min(low[target.start], low[target.stop - 1])),
                int(max(high[target.start], high[target.stop - 1])) + 1,
            )
        # Grids turned against each other: the other axes count too, in their whole length.
        ends = [np.array([0, size - 1]) for size in self.target_shape]
        ends[axis] = np.array([target.start, target.stop - 1])
        corners = np.stack([*(grid.ravel() for grid in np.meshgrid(*ends)), np.ones(8)])
        start, stop = self.bounds[axis]
        position = np.clip(self.matrix[axis] @ corners, start, stop - 1)
        return int(np.floor(position.min())), min(int(np.floor(position.max())) + 2, stop)

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
            part = slice(*box[axis])
            low, high, weight = self._tables[axis]
            block = _along(block, axis + 1, low[part] - start[axis], high[part] - start[axis], weight[part])
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


def _along(
    block: Tensor, dim: int, low: NDArray[np.int64], high: NDArray[np.int64], weight: NDArray[np.float32]
) -> Tensor:
    """Interpolate one dimension: entry i of the result is (1 - weight[i]) of entry low[i] and weight[i] of high[i]."""
    if not weight.any() and (np.diff(low) == 1).all():
        return block.narrow(dim, int(low[0]), len(low))
    # A product, a product and a sum, each rounded: fused operations round differently at the ends of vectors.
    if dim == block.ndim - 1 or block.device.type != "cpu":
        lower = torch.from_numpy(low).to(block.device)
        shape = (-1,) + (1,) * (block.ndim - 1 - dim)
        result = block.index_select(dim, lower)
        if weight.any():
            share = torch.from_numpy(weight).to(block.device).view(shape)
            upper = torch.from_numpy(high).to(block.device)
            result.mul_(1 - share).add_(block.index_select(dim, upper).mul_(share))
        return result
    sizes = list(block.shape)
    sizes[dim] = len(low)
    result = block.new_empty(sizes)
    for index, (one, other, share) in enumerate(zip(low.tolist(), high.tolist(), weight, strict=True)):
        target = result.select(dim, index)
        if share:
            torch.mul(block.select(dim, one), float(np.float32(1) - share), out=target)
            target.add_(block.select(dim, other) * float(share))
        else:
            target.copy_(block.select(dim, one))
    return result
