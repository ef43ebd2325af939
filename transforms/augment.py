"""Random crops of preprocessed scans, and their random changes.

Geometry first (crop, mirror, quarter turn, rotation with zoom in one resampling), then intensity. MONAI's transforms,
except where it has none that draws alike, or only a slow one. Beyond a scan lies 0, as in the sliding window of a
prediction: the lower bound of a CT window, the background of `zscore_nonzero`, the mean of `zscore`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandomizableTransform,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    Transform,
)
from torch import Tensor
from torch.nn import functional

from swin_unetr.config import AugmentConfig, SamplingConfig, Triple
from swin_unetr.tasks import Task
from transforms.crops import PlaceAtRandom, TakeCrops
from transforms.preprocess import Steps

_BOTH = ("image", "label")


def augmentation(sampling: SamplingConfig, augment: AugmentConfig, task: Task) -> Steps:
    """Random crops and changes of a preprocessed scan.

    Args:
        sampling: size, number and place of the crops.
        augment: what is changed, how much and how often.
        task: how many targets there are.

    Returns:
        A transform of a `transforms.crops.Scan` into a list of `crops_per_scan` dicts of "image" (C x X x Y x Z) and
        "label" (encoded targets) of the crop's size, plain tensors. `set_random_state(seed=...)` makes it draw the same
        again.
    """
    steps = [
        PlaceAtRandom(sampling.crop_size),
        TakeCrops(sampling, task),
        *_geometric(augment, sampling.crop_size),
        *_intensity(augment),
        ToPlainTensors(),
    ]
    return Steps(steps)


class RotateAndZoom(RandomizableTransform):  # type: ignore[misc]
    """Rotate about the crop's centre and zoom, in one resampling: linear for the image, nearest for the label.

    MONAI's RandAffined does the same in three times the time. Angles and zooms are drawn uniformly, for each axis
    apart, and act on voxels.

    Args:
        probability: of any change.
        degrees: largest angle about X, Y and Z, either way.
        zoom: smallest and largest; above 1 enlarges.
    """

    def __init__(self, probability: float, degrees: tuple[float, float, float], zoom: tuple[float, float]) -> None:
        RandomizableTransform.__init__(self, probability)
        self.degrees = degrees
        self.zoom = zoom

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Draw, and change "image" and "label" alike."""
        self.randomize(None)
        if not self._do_transform:
            return values
        angles = np.deg2rad(self.R.uniform(-np.array(self.degrees), self.degrees))
        matrix = _rotation(angles) / self.R.uniform(*self.zoom, 3)  # from places in the result to places in the crop
        image, label = (_plain(values[key]) for key in _BOTH)
        grid = _sampling_grid(matrix, image.shape[1:])[None]
        turned = functional.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
        turned_label = functional.grid_sample(label[None].float(), grid, mode="nearest", align_corners=False)[0]
        return {**values, "image": turned, "label": turned_label.to(label.dtype)}


class Gamma(RandomizableTransform):  # type: ignore[misc]
    """Raise intensities, mapped to 0..1 and back, to a power that is drawn log-uniformly (MONAI draws uniformly).

    Args:
        probability: of any change.
        gamma: smallest and largest power.
    """

    def __init__(self, probability: float, gamma: tuple[float, float]) -> None:
        RandomizableTransform.__init__(self, probability)
        self.gamma = gamma

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Draw, and change "image"."""
        self.randomize(None)
        if not self._do_transform:
            return values
        power = float(np.exp(self.R.uniform(*np.log(self.gamma))))
        image = _plain(values["image"])
        low, extent = image.min(), image.max() - image.min()
        if extent == 0:
            return values
        return {**values, "image": ((image - low) / extent) ** power * extent + low}


class ToPlainTensors(Transform):  # type: ignore[misc]
    """Drop MONAI's history: a batch needs none, and collating it takes longer than the crop."""

    def __call__(self, values: dict[str, Any]) -> dict[str, Tensor]:
        """One dict; MONAI goes through a list of them."""
        return {key: _plain(values[key]) for key in _BOTH}


def _geometric(augment: AugmentConfig, crop_size: Triple) -> list[Any]:
    steps: list[Any] = [
        RandFlipd(_BOTH, prob=probability, spatial_axis=axis)
        for axis, probability in enumerate(augment.flip_probability)
        if probability
    ]
    if probability := augment.rotate90_probability:
        if crop_size[0] == crop_size[1]:
            steps.append(RandRotate90d(_BOTH, prob=probability, max_k=3, spatial_axes=(0, 1)))
        else:  # a quarter turn would change the crop's shape, half a turn does not
            steps.append(RandFlipd(_BOTH, prob=probability, spatial_axis=(0, 1)))
    if augment.affine_probability:
        steps.append(RotateAndZoom(augment.affine_probability, augment.rotate_degrees, augment.zoom))
    return steps


def _intensity(augment: AugmentConfig) -> list[Any]:
    steps: list[Any] = []
    if probability := augment.noise_probability:
        steps.append(RandGaussianNoised("image", prob=probability, mean=0.0, std=augment.noise_std, sample_std=True))
    if probability := augment.blur_probability:
        sigma = augment.blur_sigma
        steps.append(RandGaussianSmoothd("image", prob=probability, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma))
    if probability := augment.gamma_probability:
        steps.append(Gamma(probability, augment.gamma))
    if probability := augment.intensity_scale_probability:
        steps.append(RandScaleIntensityd("image", factors=augment.intensity_scale, prob=probability))
    if probability := augment.intensity_shift_probability:
        steps.append(RandShiftIntensityd("image", offsets=augment.intensity_shift, prob=probability))
    return steps


def _rotation(angles: Sequence[float] | np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """3 x 3 rotation about X, then Y, then Z, in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[other, one], turn[one, other] = np.sin(angle), -np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _sampling_grid(matrix: np.ndarray[Any, np.dtype[np.float64]], size: Sequence[int]) -> Tensor:
    """Where to sample, X x Y x Z x 3, as torch wants it told: from -1 to 1 along each axis, the last axis first.

    The sum of three lines is five times as fast as torch's affine_grid, which multiplies a matrix with every voxel.

    Args:
        matrix: 3 x 3, from voxels of the result to voxels that are sampled, both counted from the centre.
        size: voxels X, Y, Z of both.
    """
    grid = torch.zeros(3)
    for axis, length in enumerate(size):
        along = torch.arange(length) - (length - 1) / 2
        step = torch.from_numpy((matrix[:, axis] * 2 / np.array(size))[::-1].copy()).float()
        grid = grid + (along[:, None] * step).reshape(*(length if other == axis else 1 for other in range(3)), 3)
    return grid


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)
