"""Random changes of a batch of crops: all crops at once, on their device.

Mirrors and quarter turns move whole voxels and are made when a crop is read (`transforms.crops`). Here follow a
rotation with zoom in one resampling, then intensity: noise, blur, low resolution, contrast, inverted gamma, gamma,
scale and shift. Each changes only the crops that were drawn for it. A crop that is rotated comes with the part of the
scan around it that the rotation samples, so that nothing within the scan is invented. Beyond the scan lies 0, as in the
sliding window of a prediction: the lower bound of a CT window, the background of `zscore_nonzero`, the mean of
`zscore`; and the label is background.
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
    turn(image, label, changes, wide)
    recolour(image, changes)


def turn(image: Tensor, label: Tensor, changes: Changes, wide: Sequence[Wide]) -> None:
    """The rotation with zoom, which changes where things lie; arguments as of `change`."""
    if len(changes.affine_rows):
        size = image.shape[2:]
        turned = [_turned(*each, matrix, size) for each, matrix in zip(wide, changes.matrices, strict=True)]
        image.index_copy_(0, changes.affine_rows, torch.cat([each for each, _ in turned]))
        label.index_copy_(0, changes.affine_rows, torch.cat([each for _, each in turned]))


def recolour(image: Tensor, changes: Changes) -> None:
    """The changes of intensity; arguments as of `change`."""
    if changes.noise_seeds:
        _each(image, changes.noise_rows, lambda crops: _noisy(crops, changes.noise_std, changes.noise_seeds))
    if len(changes.blur_rows):
        _each(image, changes.blur_rows, lambda crops: blurred(crops, changes.sigmas))
    if len(changes.low_rows):
        _each(image, changes.low_rows, lambda crops: coarsened(crops, changes.low_shares))
    if len(changes.contrast_rows):
        limits = changes.contrast_keeps_range
        _each(image, changes.contrast_rows, lambda crops: _contrasted(crops, changes.contrasts, keeps_range=limits))
    if len(changes.inverted_rows):
        _each(image, changes.inverted_rows, lambda crops: _to_the_power(-crops, changes.inverted_powers).neg_())
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


def coarsened(crops: Tensor, shares: Tensor) -> Tensor:
    """Low resolution: fewer voxels along each axis, the nearest ones, interpolated linearly to as many as before.

    The same as torch's `interpolate` by "nearest-exact" and then by "trilinear", as a matrix product along each axis.

    Args:
        crops: n x C x X x Y x Z.
        shares: n x 1 or C, of the voxels along each axis.
    """
    parts = crops.reshape(len(shares), shares.shape[1], -1, *crops.shape[2:]).flatten(0, 1)
    for length, product in zip(crops.shape[2:], _ALONG, strict=True):
        fewer = (shares.flatten()[:, None] * length).round().clamp(min=1)
        places = torch.arange(length, device=crops.device)
        # Where a voxel lies between the fewer ones, and which voxels those are of the crop.
        along = ((places + 0.5) * (fewer / length) - 0.5).clamp(min=0)
        before = along.floor()
        after = torch.minimum(before + 1, fewer - 1)
        first, second = (((each + 0.5) * (length / fewer)).floor().long() for each in (before, after))
        share = (along - before)[:, :, None]
        weights = (first[:, :, None] == places) * (1 - share) + (second[:, :, None] == places) * share
        parts = torch.einsum(product, weights, parts)
    return parts.reshape(crops.shape)


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
        crop += spread.view(-1, 1, 1, 1) * torch.randn(crop.shape, generator=generator, device=crop.device)
    return crops


def _contrasted(crops: Tensor, factors: Tensor, *, keeps_range: bool) -> Tensor:
    """Multiply the distance from the mean of the crop, or of each channel."""
    mean = _for_each(_of(crops, factors).mean(2))
    changed = torch.addcmul(mean, crops - mean, _for_each(factors))
    if keeps_range:
        low, high = _bounds(crops, factors)
        changed = torch.minimum(torch.maximum(changed, low), high)
    return changed


def _to_the_power(crops: Tensor, powers: Tensor) -> Tensor:
    """Gamma: intensities to a power, mapped to 0..1 before and back afterwards; all channels together, or each."""
    low, high = _bounds(crops, powers)
    extent = high - low
    whole = extent.clamp(min=torch.finfo(crops.dtype).tiny)
    return torch.addcmul(low, ((crops - low) / whole).pow_(_for_each(powers)), extent)


def _bounds(crops: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest intensity of what the values are for: crops, or channels of crops."""
    each = _of(crops, values)
    return _for_each(each.amin(2)), _for_each(each.amax(2))


def _of(crops: Tensor, values: Tensor) -> Tensor:
    """The voxels that each value is for: n x 1 or channels x voxels."""
    return crops.reshape(*values.shape, -1)


def _for_each(values: Tensor) -> Tensor:
    """Values for each crop, or each channel of it, to calculate with the batch."""
    return values.view(*values.shape, 1, 1, 1)
