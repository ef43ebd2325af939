"""Random changes of a batch of crops: all crops at once, on their device.

Mirrors and quarter turns move whole voxels and are made when a crop is read (`transforms.crops`). Here follow a
rotation with zoom in one resampling, then intensity: noise, blur, gamma, scale and shift. Each changes only the crops
that were drawn for it. A crop that is rotated comes with the part of the scan around it that the rotation
samples, so that nothing within the scan is invented. Beyond the scan lies 0, as in the sliding window of a prediction:
the lower bound of a CT window, the background of `zscore_nonzero`, the mean of `zscore`; and the label is background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from transforms.random_parameters import Changes

#: How far the kernel of a Gaussian reaches, in standard deviations, as in MONAI.
_REACH = 4.0
#: Products of a matrix for each crop with its axis X, Y or Z.
_ALONG = ("nxi,nciyz->ncxyz", "nyi,ncxiz->ncxyz", "nzi,ncxyi->ncxyz")


#: Image and label, C x X x Y x Z each, of a crop with the margin on each side that its rotation samples.
Wide = tuple[Tensor, Tensor]


def change(image: Tensor, label: Tensor, changes: Changes, wide: Sequence[Wide]) -> None:
    """Change a batch of crops, in place.

    Args:
        image: B x C x X x Y x Z, float32.
        label: encoded targets, B x C x X x Y x Z.
        changes: values on the device of the batch.
        wide: each crop that is rotated, with its margin, in the order of `changes.affine_rows`; on the device of the
            batch.
    """
    if len(changes.affine_rows):
        size = image.shape[2:]
        turned = [_turned(*each, matrix, size) for each, matrix in zip(wide, changes.matrices, strict=True)]
        image.index_copy_(0, changes.affine_rows, torch.cat([each for each, _ in turned]))
        label.index_copy_(0, changes.affine_rows, torch.cat([each for _, each in turned]))
    if changes.noise_seeds:
        _each(image, changes.noise_rows, lambda crops: _noisy(crops, changes.noise_std, changes.noise_seeds))
    if len(changes.blur_rows):
        _each(image, changes.blur_rows, lambda crops: blurred(crops, changes.sigmas))
    if len(changes.gamma_rows):
        _each(image, changes.gamma_rows, lambda crops: _to_the_power(crops, changes.powers))
    if changes.factors is not None and changes.addends is not None:
        torch.addcmul(_for_each(changes.addends), image, _for_each(changes.factors), out=image)


def sampling_grid(matrices: Tensor, size: Sequence[int], source: Sequence[int]) -> Tensor:
    """Where to sample, n x X x Y x Z x 3, in torch's convention: from -1 to 1 along each axis, the last axis first.

    Three lines are added up, each coordinate by itself: torch's affine_grid multiplies a matrix with every voxel.

    Args:
        matrices: n x 3 x 3, from voxels of the result to voxels that are sampled, both counted from the centre.
        size: voxels X, Y, Z of the result.
        source: voxels X, Y, Z of what is sampled.
    """
    # n x coordinate x axis
    steps = torch.stack([matrices[:, axis] * (2 / source[axis]) for axis in reversed(range(3))], dim=1)
    grid: Tensor | float = 0.0
    for axis, length in enumerate(size):
        along = torch.arange(length, device=matrices.device) - (length - 1) / 2
        shape = [*steps.shape[:2], 1, 1, 1]
        shape[2 + axis] = length
        grid = grid + (steps[:, :, axis, None] * along).reshape(shape)
    assert isinstance(grid, Tensor)
    return grid.permute(0, 2, 3, 4, 1)


def blurred(crops: Tensor, sigmas: Tensor) -> Tensor:
    """A Gaussian blur, with 0 beyond the crop: MONAI's `GaussianFilter` as a matrix product along each axis.

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


def _turned(image: Tensor, label: Tensor, matrix: Tensor, size: Sequence[int]) -> Wide:
    """One crop with what is around it, rotated and cut to its size: 1 x C x X x Y x Z each."""
    grid = sampling_grid(matrix[None], size, image.shape[1:])
    return _resampled(image[None], grid, "bilinear"), _resampled(label[None], grid, "nearest")


def _resampled(crops: Tensor, grid: Tensor, mode: str) -> Tensor:
    # The grid ends within the crop, but for rounding.
    resampled = functional.grid_sample(
        crops.float(), grid.float(), mode=mode, padding_mode="border", align_corners=False
    )
    return resampled.to(crops.dtype)


def _noisy(crops: Tensor, std: Tensor, seeds: list[int]) -> Tensor:
    """Add noise, for each crop from its own seed, so that it is the same in any batch."""
    for crop, spread, seed in zip(crops, std, seeds, strict=True):
        generator = torch.Generator(crop.device).manual_seed(seed)
        crop += spread * torch.randn(crop.shape, generator=generator, device=crop.device)
    return crops


def _to_the_power(crops: Tensor, powers: Tensor) -> Tensor:
    """Gamma: intensities to a power, mapped to 0..1 before and back afterwards; all channels together."""
    low, high = (_for_each(bound) for bound in (crops.flatten(1).amin(1), crops.flatten(1).amax(1)))
    extent = high - low
    whole = extent.clamp(min=torch.finfo(crops.dtype).tiny)
    return torch.addcmul(low, ((crops - low) / whole).pow_(_for_each(powers)), extent)


def _for_each(values: Tensor) -> Tensor:
    """A value for each crop, to calculate with the batch."""
    return values.view(-1, 1, 1, 1, 1)
