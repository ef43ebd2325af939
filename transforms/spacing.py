"""Resampling of a scan and its label map for training (`transforms.steps.Resample`).

MONAI's `Spacingd` resamples linearly, and labels by the nearest voxel. Everything else is here, with the interpolation
that prediction uses (`transforms.linear`), since MONAI has none that is local along one axis at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Spacingd, Transform
from numpy.typing import NDArray
from torch import Tensor

from swin_unetr.config import Triple
from transforms.grids import spaced_grid, voxel_size
from transforms.linear import Box, GridMap
from transforms.steps import Resample

#: What shares of a voxel differ by through rounding alone.
_TIE = 1e-5
_LINEAR, _NEAREST = (1, 1, 1), (0, 0, 0)


def resampling(step: Resample, keys: Sequence[str]) -> Any:
    """A resampling as a transform of a dict.

    Args:
        step: the voxel size, and how.
        keys: entries that it changes: "image", or "image" and "label".
    """
    if step == Resample(step.spacing_mm):
        return _by_monai(step, keys)
    return ResampleByAxis(step, keys)


class ResampleByAxis(Transform):  # type: ignore[misc]  # MONAI has no types
    """Resample each axis by the order that the step gives it.

    Args:
        step: the voxel size, and how.
        keys: "image", or "image" and "label", which are on one grid.
    """

    def __init__(self, step: Resample, keys: Sequence[str]) -> None:
        self._step, self._keys = step, tuple(keys)
        self._monai = {key: _by_monai(step, [key], label=key == "label") for key in keys}

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Replace the entries; MetaTensors C x X x Y x Z in RAS order."""
        result = dict(values)
        for key in self._keys:
            own: MetaTensor = values[key]
            affine = np.asarray(own.affine, np.float64)
            shape: Triple = tuple(own.shape[1:])
            mm, label = voxel_size(affine), key == "label"
            orders = self._step.label_orders(mm) if label else self._step.image_orders(mm)
            target, moved = spaced_grid(affine, shape, self._step.spacing_mm)
            if moved is affine:  # it has this voxel size
                continue
            grid = _map(affine, shape, target, moved, orders)
            # Between grids that are not parallel, `GridMap` is linear, with positions of float32; MONAI's are finer.
            if orders == (_NEAREST if label else _LINEAR) or not (grid.parallel or label):
                result = self._monai[key](result)
                continue
            voxels = own.as_tensor()
            found = largest_share(voxels, grid) if label else grid.sample(voxels, (0, 0, 0), _whole(target))
            result[key] = MetaTensor(found.contiguous(), affine=torch.from_numpy(moved.copy()))
        return result


def largest_share(labels: Tensor, grid: GridMap) -> Tensor:
    """The label that has the largest share of each voxel of another grid, by linear interpolation of each label.

    Of labels with the same share, that of the nearest voxel counts: the first or last voxels of structures, which lie
    half in a voxel wherever voxels are halved, must neither all be lost nor all be won.

    Args:
        labels: label values, 1 x X x Y x Z, the whole grid.
        grid: to the other grid; of order 1 along the axes of which shares are taken, and 0 along the others.

    Returns:
        1 x the other grid's voxels, of the same type.
    """
    result = labels.new_zeros((1, *grid.target_shape))
    best = torch.zeros(result.shape)
    nearest = None
    if grid.parallel:
        by_voxel = GridMap(grid.matrix, grid.target_shape, grid.bounds, _NEAREST)
        nearest = by_voxel.sample(labels, (0, 0, 0), _whole(grid.target_shape))
    for value in torch.unique(labels):
        mask = labels == value
        box = _reached(grid, _around(mask[0]))
        if any(first == last for first, last in box):  # a structure between the voxels of the other grid
            continue
        source = [grid.needed(axis, range(*ends)) for axis, ends in enumerate(box)]
        x, y, z = (first for first, _ in source)
        share = grid.sample(mask[(slice(None), *(slice(*ends) for ends in source))], (x, y, z), box)
        here = (slice(None), *(slice(*ends) for ends in box))
        if nearest is not None:
            share = share + _TIE * (nearest[here] == value)
        more = share > best[here]
        best[here] = torch.where(more, share, best[here])
        result[here] = torch.where(more, value, result[here])
    return result


def _by_monai(step: Resample, keys: Sequence[str], *, label: bool = False) -> Any:
    modes = ["nearest" if label else "bilinear", "nearest"][: len(keys)]
    return Spacingd(keys, pixdim=step.spacing_mm, mode=modes, padding_mode="border")


def _map(
    affine: NDArray[np.float64], shape: Triple, target: Triple, moved: NDArray[np.float64], orders: Triple
) -> GridMap:
    return GridMap(np.asarray(np.linalg.solve(affine, moved), np.float64), target, _whole(shape), orders)


def _around(mask: Tensor) -> Box:
    """The box around what is true, X x Y x Z; something is."""
    x, y, z = (_ends(mask.any(dim=second).any(dim=first)) for first, second in ((1, 2), (0, 2), (0, 1)))
    return x, y, z


def _ends(shown: Tensor) -> tuple[int, int]:
    along = torch.nonzero(shown)
    return int(along[0]), int(along[-1]) + 1


def _reached(grid: GridMap, box: Box) -> Box:
    x, y, z = (grid.reached(axis, range(*ends)) for axis, ends in enumerate(box))
    return x, y, z


def _whole(shape: Triple) -> Box:
    x, y, z = shape
    return (0, x), (0, y), (0, z)
