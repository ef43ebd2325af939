"""Random changes of a batch of crops: all crops at once, on their device.

Mirrors and quarter turns are made where a crop is read (`transforms.crops`), for they move whole voxels; here a
rotation with zoom in one resampling, then intensity: noise, blur, gamma, scale and shift. Only the crops that were
drawn for a change are touched by it. Beyond a crop lies 0, as beyond a scan in the sliding window of a prediction: the
lower bound of a CT window, the background of `zscore_nonzero`, the mean of `zscore`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from transforms.draws import Changes

#: Standard deviations of a Gaussian that its kernel reaches, as MONAI's.
_REACH = 4.0
#: A matrix of each crop times its X, Y, Z.
_ALONG = ("nxi,nciyz->ncxyz", "nyi,ncxiz->ncxyz", "nzi,ncxyi->ncxyz")


def change(image: Tensor, label: Tensor, changes: Changes) -> None:
    """Change a batch of crops, in place.

    Args:
        image: B x C x X x Y x Z, float32.
        label: encoded targets, B x C x X x Y x Z.
        changes: values on the device of the batch.
    """
    if len(changes.affine_rows):
        grid = sampling_grid(changes.matrices, image.shape[2:])
        _each(image, changes.affine_rows, lambda crops: _resampled(crops, grid, "bilinear"))
        _each(label, changes.affine_rows, lambda crops: _resampled(crops, grid, "nearest"))
    if changes.noise_seeds:
        _each(image, changes.noise_rows, lambda crops: _noisy(crops, changes.noise_std, changes.noise_seeds))
    if len(changes.blur_rows):
        _each(image, changes.blur_rows, lambda crops: blurred(crops, changes.sigmas))
    if len(changes.gamma_rows):
        _each(image, changes.gamma_rows, lambda crops: _to_the_power(crops, changes.powers))
    if changes.factors is not None and changes.addends is not None:
        torch.addcmul(_for_each(changes.addends), image, _for_each(changes.factors), out=image)


def sampling_grid(matrices: Tensor, size: torch.Size) -> Tensor:
    """Where to sample, n x X x Y x Z x 3, as torch wants it told: from -1 to 1 along each axis, the last axis first.

    Three lines are added up, each coordinate by itself: torch's affine_grid multiplies a matrix with every voxel.

    Args:
        matrices: n x 3 x 3, from voxels of the result to voxels that are sampled, both counted from the centre.
        size: voxels X, Y, Z of both.
    """
    # n x coordinate x axis
    steps = torch.stack([matrices[:, axis] * (2 / size[axis]) for axis in reversed(range(3))], dim=1)
    grid: Tensor | float = 0.0
    for axis, length in enumerate(size):
        along = torch.arange(length, device=matrices.device) - (length - 1) / 2
        shape = [*steps.shape[:2], 1, 1, 1]
        shape[2 + axis] = length
        grid = grid + (steps[:, :, axis, None] * along).reshape(shape)
    assert isinstance(grid, Tensor)
    return grid.permute(0, 2, 3, 4, 1)


def blurred(crops: Tensor, sigmas: Tensor) -> Tensor:
    """A Gaussian blur, with nothing beyond the crop; MONAI's `GaussianFilter`, a matrix product along each axis.

    Args:
        crops: n x C x X x Y x Z.
        sigmas: n x 3, in voxels.
    """
    for sigma, length, product in zip(sigmas[:, :, None, None].unbind(1), crops.shape[2:], _ALONG, strict=True):
        places = torch.arange(length, device=crops.device)
        away = (places[:, None] - places).abs()
        inverse = 0.5**0.5 / sigma
        weights = 0.5 * (torch.erf(inverse * (away + 0.5)) - torch.erf(inverse * (away - 0.5)))
        reach = ((sigma * _REACH).clamp(min=0.5) + 0.5).floor()
        weights = torch.where(away <= reach, weights, 0.0)  # n x length x length
        crops = torch.einsum(product, weights, crops)
    return crops


def _each(batch: Tensor, rows: Tensor, changed: Callable[[Tensor], Tensor]) -> None:
    batch.index_copy_(0, rows, changed(batch.index_select(0, rows)))


def _resampled(crops: Tensor, grid: Tensor, mode: str) -> Tensor:
    resampled = functional.grid_sample(crops.float(), grid.float(), mode=mode, align_corners=False)
    return resampled.to(crops.dtype)


def _noisy(crops: Tensor, std: Tensor, seeds: list[int]) -> Tensor:
    """Add noise, each crop's from a seed of its own: the same in any batch."""
    for crop, spread, seed in zip(crops, std, seeds, strict=True):
        generator = torch.Generator(crop.device).manual_seed(seed)
        crop += spread * torch.randn(crop.shape, generator=generator, device=crop.device)
    return crops


def _to_the_power(crops: Tensor, powers: Tensor) -> Tensor:
    """Gamma: intensities to a power, mapped to 0..1 before and back thereafter; all channels alike."""
    low, high = (_for_each(bound) for bound in (crops.flatten(1).amin(1), crops.flatten(1).amax(1)))
    extent = high - low
    whole = extent.clamp(min=torch.finfo(crops.dtype).tiny)
    return torch.addcmul(low, ((crops - low) / whole).pow_(_for_each(powers)), extent)


def _for_each(values: Tensor) -> Tensor:
    """A value for each crop, to calculate with the batch."""
    return values.view(-1, 1, 1, 1, 1)
