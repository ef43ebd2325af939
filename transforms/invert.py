"""From the grid of a preprocessed scan back to the grid of its file."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from torch import Tensor

from swin_unetr.errors import GeometryError
from transforms.geometry import Geometry
from transforms.preprocess import NATIVE_AFFINE, NATIVE_SHAPE


def to_source_grid(maps: Tensor, image: MetaTensor, geometry: Geometry) -> Tensor:
    """Bring maps of a preprocessed scan back to the grid of its file.

    Where nothing was resampled every voxel returns to its place unchanged; otherwise scores are interpolated
    linearly. What the crop to the foreground left out is 0 in every map.

    Args:
        maps: C x X x Y x Z scores on the grid of the preprocessed scan; C need not be the scan's, so that one
            channel at a time can be brought back.
        image: the preprocessed scan; remembers the grid it had before resampling.
        geometry: of the source file.

    Returns:
        float32, C x source shape, in stored order.

    Raises:
        GeometryError: the maps are not on the grid of the scan, or that does not lie in the source's grid.
    """
    if maps.shape[1:] != image.shape[1:]:
        raise GeometryError(f"maps of {tuple(maps.shape[1:])} voxels for a scan of {tuple(image.shape[1:])}")
    maps = maps.as_subclass(Tensor)
    native_affine, native_shape = image.meta[NATIVE_AFFINE], image.meta[NATIVE_SHAPE]
    if not (torch.equal(image.affine, native_affine) and tuple(image.shape[1:]) == native_shape):
        maps = _resample(maps, image.affine, native_affine, native_shape)
    return _place(maps.float(), np.asarray(native_affine, np.float64), geometry)


def _resample(maps: Tensor, affine: Tensor, native_affine: Tensor, native_shape: tuple[int, ...]) -> Tensor:
    back = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float32)
    with back.trace_transform(False):
        resampled = back(MetaTensor(maps, affine=affine), dst_affine=native_affine, spatial_size=native_shape)
    plain: Tensor = resampled.as_tensor()
    return plain


def _place(
    maps: Tensor, native_affine: np.ndarray[tuple[int, int], np.dtype[np.float64]], geometry: Geometry
) -> Tensor:
    """Turn and shift maps into the source's array; the two grids differ by whole voxels and by axes."""
    to_source = np.linalg.inv(geometry.affine) @ native_affine
    turn = np.rint(to_source[:3, :3]).astype(int)
    if not np.allclose(to_source[:3, :3], turn, atol=1e-3) or not (np.abs(turn).sum(axis=0) == 1).all():
        raise GeometryError("the preprocessed scan is turned against its source; it belongs to another file")
    axes = [int(np.argmax(np.abs(turn[row]))) for row in range(3)]  # source axis row is native axis axes[row]
    signs = [int(turn[row, axes[row]]) for row in range(3)]
    start = np.rint(to_source[:3, 3]).astype(int)
    turned = maps.permute(0, *(axis + 1 for axis in axes))
    turned = turned.flip([row + 1 for row in range(3) if signs[row] < 0])
    sizes = turned.shape[1:]
    first = [int(start[row]) if signs[row] > 0 else int(start[row]) - sizes[row] + 1 for row in range(3)]
    if any(low < 0 or low + size > extent for low, size, extent in zip(first, sizes, geometry.shape, strict=True)):
        raise GeometryError("the preprocessed scan reaches beyond its source; it belongs to another file")
    if tuple(sizes) == geometry.shape:
        return turned.contiguous()
    whole = maps.new_zeros((maps.shape[0], *geometry.shape))
    x, y, z = (slice(low, low + size) for low, size in zip(first, sizes, strict=True))
    whole[:, x, y, z] = turned
    return whole
