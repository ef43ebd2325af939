"""Random crops of preprocessed scans, and their random changes; MONAI's transforms throughout.

Geometry first (crop, mirror, quarter turn, rotation with zoom in one resampling), then intensity.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import radians
from typing import Any

from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSpatialCropSamplesd,
    SpatialPadd,
    Transform,
)

from swin_unetr.config import AugmentConfig, SamplingConfig
from swin_unetr.tasks import Task

_BOTH = ("image", "label")


def augmentation(sampling: SamplingConfig, augment: AugmentConfig, task: Task) -> Compose:
    """Random crops and changes of a preprocessed scan.

    Args:
        sampling: size, number and place of the crops.
        augment: what is changed, how much and how often.
        task: tells regions from exclusive classes.

    Returns:
        A transform of {"image": C x X x Y x Z, "label": encoded targets} into a list of `crops_per_scan` such dicts of
        the crop's size. `set_random_state(seed=...)` makes it draw the same again.
    """
    crop: Any
    if sampling.scheme == "positive_negative":
        crop = RandCropByPosNegLabeld(
            _BOTH,
            label_key="label",
            spatial_size=sampling.crop_size,
            pos=sampling.positive,
            neg=sampling.negative,
            num_samples=sampling.crops_per_scan,
        )
    else:
        crop = RandSpatialCropSamplesd(
            _BOTH, roi_size=sampling.crop_size, num_samples=sampling.crops_per_scan, random_size=False
        )
    # A scan that is smaller than the crop is filled with what its border shows least: its smallest value.
    pad = SpatialPadd(_BOTH, spatial_size=sampling.crop_size, mode=("edge", "constant"))
    return Compose([pad, crop, *_geometric(augment, sampling.crop_size), *_intensity(augment), ToPlainTensors()])


class ToPlainTensors(Transform):  # type: ignore[misc]  # MONAI has no types
    """Drop MONAI's history: a batch needs none, and collating it takes longer than the crop."""

    def __call__(self, values: Any) -> Any:
        """One dict, or a list of dicts."""
        if isinstance(values, Sequence):
            return [self(entry) for entry in values]
        return {key: getattr(values[key], "as_tensor", lambda key=key: values[key])() for key in _BOTH}


def _geometric(augment: AugmentConfig, crop_size: tuple[int, int, int]) -> list[Any]:
    steps: list[Any] = [
        RandFlipd(_BOTH, prob=probability, spatial_axis=axis)
        for axis, probability in enumerate(augment.flip_probability)
        if probability
    ]
    if augment.rotate90_probability:
        steps.append(RandRotate90d(_BOTH, prob=augment.rotate90_probability, max_k=3, spatial_axes=(0, 1)))
    if augment.affine_probability:
        low, high = augment.zoom
        steps.append(
            RandAffined(
                _BOTH,
                prob=augment.affine_probability,
                rotate_range=[radians(degrees) for degrees in augment.rotate_degrees],
                # MONAI scales the grid that is sampled: 1/zoom, given as an offset from 1.
                scale_range=[(1 / high - 1, 1 / low - 1)] * 3,
                spatial_size=crop_size,
                mode=("bilinear", "nearest"),
                padding_mode=("border", "zeros"),
                cache_grid=True,
            )
        )
    return steps


def _intensity(augment: AugmentConfig) -> list[Any]:
    probability = augment.noise_probability
    steps: list[Any] = []
    if probability:
        steps.append(RandGaussianNoised("image", prob=probability, mean=0.0, std=augment.noise_std, sample_std=True))
    if augment.blur_probability:
        sigma = augment.blur_sigma
        steps.append(
            RandGaussianSmoothd("image", prob=augment.blur_probability, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma)
        )
    if augment.gamma_probability:
        steps.append(
            RandAdjustContrastd("image", prob=augment.gamma_probability, gamma=augment.gamma, retain_stats=False)
        )
    if augment.intensity_scale_probability:
        steps.append(
            RandScaleIntensityd("image", factors=augment.intensity_scale, prob=augment.intensity_scale_probability)
        )
    if augment.intensity_shift_probability:
        steps.append(
            RandShiftIntensityd("image", offsets=augment.intensity_shift, prob=augment.intensity_shift_probability)
        )
    return steps
