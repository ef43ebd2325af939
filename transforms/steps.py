"""The steps from a stored scan to what the network sees, described once for training and prediction.

Training does one step after another with MONAI's transforms (`transforms.preprocess`), prediction does them slab by
slab (`transforms.prepare`). The arithmetic is there; the steps, their order and their values are here. In all steps,
values count as float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.errors import ConfigError, DataError
from transforms.geometry import DIRECTIONS

#: Part of every key of something that was preprocessed: stores, caches of pre-training, results of predictions. It is
#: raised by one whenever the same file and configuration give other voxels or labels than before, because of these
#: steps, the encoding of labels or the reading of files. Whatever has another version is made again.
PREPROCESSING_VERSION = 2

#: What float32's rounding makes of nothing: a deviation up to this share of the mean is that of a constant channel, and
#: a value up to this share of the channel's largest is 0.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Orient:
    """Turn the stored axes to RAS; no value changes.

    Attributes:
        axes: where the axes of the result point.
        directions: letters of each axis of the patient, negative and positive.
    """

    axes: str = "RAS"
    directions: tuple[tuple[str, str], ...] = DIRECTIONS


@dataclass(frozen=True)
class CropForeground:
    """Keep the box of all voxels that any channel shows, without a margin; a scan that shows nothing is kept whole.

    It comes before the resampling: that makes it cheaper, and the box is found on the scanner's own voxels.

    Attributes:
        bounds: a channel shows what exceeds its bound. If None, everything but 0.
    """

    bounds: tuple[float | None, ...]


@dataclass(frozen=True)
class Resample:
    """Resample to one voxel size, on the grid that MONAI's `Spacing` makes; a scan with this voxel size stays as it is.

    Attributes:
        spacing_mm: along the RAS axes.
        image_mode: interpolation of the scan, in MONAI's words.
        label_mode: of its label map.
        border: what lies outside the scan, in MONAI's words.
    """

    spacing_mm: tuple[float, float, float]
    image_mode: str = "bilinear"
    label_mode: str = "nearest"
    border: str = "border"


@dataclass(frozen=True)
class Window:
    """Map a channel linearly, `low` to 0 and `high` to 1, and clip what lies beyond."""

    low: float
    high: float


@dataclass(frozen=True)
class ZScore:
    """Give a channel zero mean and unit (population) deviation; a constant one (`ROUNDING`) is only shifted.

    Attributes:
        nonzero: whether only the values that are not 0 (`ROUNDING`) count and change.
    """

    nonzero: bool


Intensity = Window | ZScore


@dataclass(frozen=True)
class ScaleIntensity:
    """Scale each channel of the resampled scan by itself; labels stay."""

    channels: tuple[Intensity, ...]


Step = Orient | CropForeground | Resample | ScaleIntensity


@dataclass(frozen=True)
class Steps:
    """All steps of a scan, in their order. Its label map goes through those that change the grid."""

    orient: Orient
    crop: CropForeground | None
    resample: Resample | None
    intensity: ScaleIntensity

    def __iter__(self) -> Iterator[Step]:
        """Those that are done."""
        for step in (self.orient, self.crop, self.resample, self.intensity):
            if step is not None:
                yield step


def steps_of(config: PreprocessConfig, count: int, channels: Sequence[str] | None = None) -> Steps:
    """The steps of a configuration.

    Args:
        config: spacing, intensity and crop.
        count: channels of the scan.
        channels: their names. If None, they are called by their numbers from 0.

    Raises:
        ConfigError: an intensity of a channel that is not there.
        DataError: another number of names than of channels.
    """
    names = channels or [str(number) for number in range(count)]
    if len(names) != count:
        raise DataError(f"a scan has {count} channels, but intensities of {len(names)} are given")
    intensities = tuple(map(_intensity, channel_intensities(config, names)))
    bounds = tuple(of.low if isinstance(of, Window) else None for of in intensities)
    return Steps(
        orient=Orient(),
        crop=CropForeground(bounds) if config.crop_foreground else None,
        resample=None if config.spacing_mm is None else Resample(config.spacing_mm),
        intensity=ScaleIntensity(intensities),
    )


def channel_intensities(config: PreprocessConfig, channels: Sequence[str]) -> tuple[IntensityConfig, ...]:
    """The intensity of each channel (`PreprocessConfig.intensities`).

    Raises:
        ConfigError: an intensity of a channel that is not there.
    """
    try:
        return config.intensities(channels)
    except ValueError as error:
        raise ConfigError(f"preprocess.{error}") from error


def preprocessing_key(config: PreprocessConfig, channels: Sequence[str] | None = None) -> dict[str, Any]:
    """Everything besides its files that the voxels of a preprocessed scan depend on, as plain JSON.

    Fields without effect, such as the window of a z-score or the names of channels, are left out.

    Args:
        config: spacing, intensity and crop.
        channels: their names. If None, scans may have any number of them, which are called by their numbers.

    Raises:
        ConfigError: an intensity of a channel that is not there.
    """
    intensities: Any
    if channels is None:
        intensities = {name: _intensity_key(of) for name, of in {"": config.intensity, **config.intensity_of}.items()}
    else:
        intensities = [_intensity_key(of) for of in channel_intensities(config, channels)]
    return {
        "version": PREPROCESSING_VERSION,
        "spacing_mm": None if config.spacing_mm is None else [float(size) for size in config.spacing_mm],
        "crop_foreground": config.crop_foreground,
        "intensity": intensities,
    }


def _intensity(config: IntensityConfig) -> Intensity:
    if config.scheme == "hu_window":
        return Window(*config.window)
    return ZScore(nonzero=config.scheme == "zscore_nonzero")


def _intensity_key(config: IntensityConfig) -> list[Any]:
    of = _intensity(config)
    return [config.scheme, *([float(of.low), float(of.high)] if isinstance(of, Window) else [])]
