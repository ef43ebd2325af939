"""The steps from a stored scan to what the network sees, described once for training and prediction.

Training does one step after another with MONAI's transforms (`transforms.preprocess`), prediction does them slab by
slab (`transforms.prepare`). The arithmetic is there; the steps, their order and their values are here. In all steps,
values count as float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

from swin_unetr.config import IntensityConfig, PreprocessConfig, Triple
from swin_unetr.errors import ConfigError, DataError
from transforms.geometry import DIRECTIONS

#: Part of every key of something that was preprocessed: stores, caches of pre-training, results of predictions. It is
#: raised by one whenever the same file and configuration give other voxels or labels than before, because of these
#: steps, the encoding of labels or the reading of files. Whatever has another version is made again.
PREPROCESSING_VERSION = 2

#: What float32's rounding makes of nothing: a deviation up to this share of the mean is that of a constant channel, and
#: a value up to this share of the channel's largest is 0.
ROUNDING = 1e-6

#: From this ratio of a voxel's edges on, slices are thick, and may be treated apart (nnU-Net).
THICK = 3.0


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
        image: interpolation of the scan. Outside it, its border counts.
        label: of its label map; "linear" takes each label's share of a voxel, and the label with the largest.
        through_plane: "auto" takes the nearest voxel along the axis of thick slices.
    """

    spacing_mm: tuple[float, float, float]
    image: Literal["linear", "cubic"] = "linear"
    label: Literal["nearest", "linear"] = "nearest"
    through_plane: Literal["same", "auto"] = "same"

    def image_orders(self, own_mm: Sequence[float]) -> Triple:
        """Order of the interpolation of a scan along each RAS axis: 0 nearest, 1 linear, 3 cubic.

        Args:
            own_mm: voxel size of the scan along the RAS axes.
        """
        return self._orders(3 if self.image == "cubic" else 1, own_mm)

    def label_orders(self, own_mm: Sequence[float]) -> Triple:
        """The same of its label map."""
        return self._orders(1 if self.label == "linear" else 0, own_mm)

    def _orders(self, order: Literal[0, 1, 3], own_mm: Sequence[float]) -> Triple:
        thick = None
        if self.through_plane == "auto":
            thick = _thick_axis(own_mm)
            thick = _thick_axis(self.spacing_mm) if thick is None else thick
        x, y, z = (0 if axis == thick else order for axis in range(3))
        return x, y, z


def _thick_axis(sizes_mm: Sequence[float]) -> int | None:
    """The axis along which voxels are more than `THICK` times as long as along both others; None if there is none."""
    longest = max(range(3), key=lambda axis: sizes_mm[axis])
    others = max(size for axis, size in enumerate(sizes_mm) if axis != longest)
    # Rounding of a header must not decide.
    return longest if sizes_mm[longest] > THICK * others * (1 + 1e-5) else None


@dataclass(frozen=True)
class Window:
    """Map a channel linearly, `low` to 0 and `high` to 1, and clip what lies beyond."""

    low: float
    high: float


@dataclass(frozen=True)
class Standardize:
    """Clip a channel to `low` and `high`, subtract `mean` and divide by `std`: nnU-Net's normalisation of CT.

    What lies beyond a scan is 0, as with every scheme: here the mean of the structures.
    """

    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True)
class ZScore:
    """Give a channel zero mean and unit (population) deviation; a constant one (`ROUNDING`) is only shifted.

    Attributes:
        nonzero: whether only the values that are not 0 (`ROUNDING`) count and change.
    """

    nonzero: bool


Intensity = Window | Standardize | ZScore


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
    bounds = tuple(None if isinstance(of, ZScore) else of.low for of in intensities)
    return Steps(
        orient=Orient(),
        crop=CropForeground(bounds) if config.crop_foreground else None,
        resample=resampling_of(config),
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

    Fields without effect, such as the window of a z-score or the names of channels, are left out; so are fields that
    were added later, unless they change something: what was preprocessed before keeps its key.

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
        **interpolation_key(config),
    }


def interpolation_key(config: PreprocessConfig) -> dict[str, Any]:
    """How scans are resampled, for a key; empty where they are not, or linearly along all axes."""
    if config.spacing_mm is None:
        return {}
    off = Resample(config.spacing_mm)
    fields = {"image_interpolation": off.image, "through_plane": off.through_plane}
    return {name: value for name, default in fields.items() if (value := getattr(config, name)) != default}


def label_interpolation_key(config: PreprocessConfig) -> dict[str, Any]:
    """How label maps are resampled, for a key; empty where they are not, or by the nearest voxel."""
    if config.spacing_mm is None or config.label_interpolation == "nearest":
        return {}
    return {"label_interpolation": config.label_interpolation}


def resampling_of(config: PreprocessConfig) -> Resample | None:
    """The resampling of a configuration; None if it keeps the source's voxel size."""
    if config.spacing_mm is None:
        return None
    return Resample(
        config.spacing_mm,
        image=config.image_interpolation,
        label=config.label_interpolation,
        through_plane=config.through_plane,
    )


def _intensity(config: IntensityConfig) -> Intensity:
    if config.scheme == "hu_window":
        return Window(*config.window)
    if config.scheme == "hu_zscore":
        assert config.mean is not None  # the configuration refuses None
        assert config.std is not None
        return Standardize(*config.window, config.mean, config.std)
    return ZScore(nonzero=config.scheme == "zscore_nonzero")


def _intensity_key(config: IntensityConfig) -> list[Any]:
    of = _intensity(config)
    return [config.scheme, *([] if isinstance(of, ZScore) else map(float, astuple(of)))]
