"""Configuration of the random changes of training crops. Knows no torch; imported from `swin_unetr.config`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

#: Changes of intensity that can be drawn for each channel.
OfChannels = Literal["noise", "low_resolution", "contrast", "inverted_gamma", "gamma", "intensity_scale"]


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training crop; every probability 0 switches its change off.

    The published recipes use only the flips, quarter turns, scale and shift.
    """

    #: Probability of mirroring, drawn separately for the axes X, Y, Z.
    flip_probability: tuple[float, float, float] = (0.5, 0.5, 0.5)
    #: Probability of a turn by 90, 180 or 270 degrees in the axial X-Y plane; only 180 if the crop is not square there.
    rotate90_probability: float = 0.0
    #: Probability of rotation and zoom, in one resampling.
    affine_probability: float = 0.0
    #: Largest angle about X, Y, Z, either way, in degrees.
    rotate_degrees: tuple[float, float, float] = (15.0, 15.0, 15.0)
    #: Smallest and largest zoom, drawn separately for each axis; above 1 enlarges.
    zoom: tuple[float, float] = (0.85, 1.15)
    #: Multiply intensities by 1 + u, u uniform in plus or minus this.
    intensity_scale: float = 0.1
    #: Probability of `intensity_scale`, drawn for each crop.
    intensity_scale_probability: float = 0.0
    #: Add u, uniform in plus or minus this.
    intensity_shift: float = 0.1
    #: Probability of `intensity_shift`, drawn for each crop.
    intensity_shift_probability: float = 0.0
    #: Gamma, log-uniform between these, on intensities mapped to 0..1 and back.
    gamma: tuple[float, float] = (0.7, 1.5)
    #: Probability of `gamma`, drawn for each crop.
    gamma_probability: float = 0.0
    #: Standard deviation of Gaussian noise is uniform in 0..this.
    noise_std: float = 0.1
    #: Probability of `noise_std`, drawn for each crop.
    noise_probability: float = 0.0
    #: Sigma of Gaussian blur in voxels is uniform between these.
    blur_sigma: tuple[float, float] = (0.5, 1.0)
    #: Probability of `blur_sigma`, drawn for each crop.
    blur_probability: float = 0.0
    #: Low resolution: the share of the voxels along each axis, uniform between these, that a crop is brought down to
    #: (nearest voxels) and up from again (trilinear).
    low_resolution: tuple[float, float] = (0.5, 1.0)
    #: Probability of `low_resolution`, drawn for each crop.
    low_resolution_probability: float = 0.0
    #: Multiply the distance of intensities from their mean by a factor, log-uniform between these.
    contrast: tuple[float, float] = (0.75, 1.25)
    #: Whether `contrast` keeps intensities within the range that the crop had before.
    contrast_keeps_range: bool = True
    #: Probability of `contrast`, drawn for each crop.
    contrast_probability: float = 0.0
    #: Probability of `gamma` on inverted intensities, which are inverted back afterwards; drawn for each crop.
    inverted_gamma_probability: float = 0.0
    #: Changes whose size is drawn for each channel, not for all channels together: of "noise", "low_resolution",
    #: "contrast", "inverted_gamma", "gamma" and "intensity_scale". Mean and range are then those of the channel.
    per_channel: tuple[OfChannels, ...] = ()
    #: Exchange the labels of paired structures (left kidney, right kidney) in crops that are mirrored along X. Pairs
    #: follow from the names, or from `pairs` in task.yaml; if a side has no partner, X is not mirrored.
    exchange_sides: bool = False
    #: MONAI's dictionary transforms, made after the others, each as its name and its arguments:
    #: [{RandGibbsNoised: {prob: 0.1, alpha: [0, 0.5]}}]. `keys` are [image] if they are not given.
    monai: tuple[dict[str, dict[str, Any] | None], ...] = ()

    def __post_init__(self) -> None:
        for name in vars(self):
            values = getattr(self, name)
            if name.endswith("probability"):
                for value in values if isinstance(values, tuple) else (values,):
                    if not 0 <= value <= 1:
                        raise ValueError(f"{name}: must lie in 0..1, got {values}")
        for name in ("zoom", "gamma", "blur_sigma", "low_resolution", "contrast"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}: needs 0 < low <= high, got {(low, high)}")
        if self.exchange_sides and self.rotate90_probability and self.flip_probability[1]:
            raise ValueError(
                "exchange_sides: a mirror along Y with a half turn is a mirror along X whose sides are not exchanged; "
                "set rotate90_probability or the second number of flip_probability to 0"
            )
        if self.low_resolution[1] > 1:
            raise ValueError(f"low_resolution: must not exceed 1, got {self.low_resolution}")
        if unknown := set(self.per_channel) - set(get_args(OfChannels)):
            raise ValueError(f"per_channel: {min(unknown)!r} is not one of {', '.join(get_args(OfChannels))}")
        for of in self.monai:
            _check_listed(of)


def _check_listed(of: object) -> None:
    """Refuse an entry of `AugmentConfig.monai` that is not one name with its arguments."""
    if not isinstance(of, Mapping) or len(of) != 1:
        raise ValueError(
            f"monai: each entry is one name with its arguments, such as RandFlipd: {{prob: 0.5}}, got {of}"
        )
    ((name, arguments),) = of.items()
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"monai: {name!r} is not the name of a transform; names are those of monai.transforms alone")
    if not isinstance(arguments, Mapping | None):
        raise ValueError(f"monai: {name} needs a mapping of arguments, such as {{prob: 0.5}}, got {arguments!r}")
    if code := next(_code(arguments), None):
        raise ValueError(f"monai: {name}: {code!r} looks like code; arguments are values, nothing is evaluated")


def _code(value: object) -> Iterator[str]:
    """What MONAI would evaluate in its own bundles, at any depth."""
    if isinstance(value, Mapping):
        for key, of in value.items():
            if str(key).startswith("_"):
                yield str(key)
            yield from _code(of)
    elif isinstance(value, list | tuple):
        for of in value:
            yield from _code(of)
    elif isinstance(value, str) and value.startswith(("$", "@", "%")):
        yield value
