"""Augmentation of crops at its extremes: nothing, and everything at half of the times."""

from swin_unetr.config import AugmentConfig

NONE = AugmentConfig(flip_probability=(0, 0, 0))
ALL = AugmentConfig(
    rotate90_probability=0.5,
    affine_probability=0.5,
    gamma_probability=0.5,
    intensity_scale_probability=0.5,
    intensity_shift_probability=0.5,
    noise_probability=0.5,
    blur_probability=0.5,
)
