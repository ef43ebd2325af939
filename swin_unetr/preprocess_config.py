"""Configuration of the way from a file to what the network sees. Knows no torch; imported from `swin_unetr.config`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class IntensityConfig:
    """How voxel values are normalised before the network sees them."""

    #: "hu_window": clip to `window` and map it onto 0..1. "zscore_nonzero": zero mean and unit deviation over the
    #: non-zero voxels of each channel (BraTS). "zscore": the same over all voxels of each channel.
    scheme: Literal["hu_window", "zscore_nonzero", "zscore"] = "zscore_nonzero"
    #: Lower and upper bound in Hounsfield units, or in the unit of the channel, for "hu_window".
    window: tuple[float, float] = (-175.0, 250.0)

    def __post_init__(self) -> None:
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window: lower bound must lie below the upper, got {self.window}")


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """From a file to what the network sees; identical in training, validation and prediction."""

    #: Voxel size in millimetres along the RAS axes. If None, the source's is kept.
    spacing_mm: tuple[float, float, float] | None = None
    #: Normalisation of every channel that `intensity_of` does not name.
    intensity: IntensityConfig = IntensityConfig()
    #: Normalisation of single channels, by name or by number from 0, for scans of several modalities:
    #: {PET: {scheme: zscore}, CT: {scheme: hu_window, window: [-150, 250]}}.
    intensity_of: dict[str, IntensityConfig] = field(default_factory=dict)
    #: Crop to the box around the foreground of any channel (values above the window's lower bound of "hu_window",
    #: else voxels that are not 0).
    crop_foreground: bool = True

    def __post_init__(self) -> None:
        if self.spacing_mm is not None and min(self.spacing_mm) <= 0:
            raise ValueError(f"spacing_mm: must be positive, got {self.spacing_mm}")
        # YAML reads the number of a channel as a number.
        object.__setattr__(self, "intensity_of", {str(name): of for name, of in self.intensity_of.items()})

    def intensities(self, channels: Sequence[str]) -> tuple[IntensityConfig, ...]:
        """The intensity of each channel.

        Args:
            channels: their names, in order; of scans whose channels have no names, "0", "1" and so on.

        Raises:
            ValueError: `intensity_of` names a channel that is not there, or one of them twice.
        """
        found = [self.intensity] * len(channels)
        named: set[int] = set()
        for name, of in self.intensity_of.items():
            if name in channels:
                index = list(channels).index(name)
            elif name.isdecimal() and int(name) < len(channels):
                index = int(name)
            else:
                raise ValueError(f"intensity_of: there is no channel {name!r}; the channels are {', '.join(channels)}")
            if index in named:
                raise ValueError(f"intensity_of: names channel {channels[index]} by its name and by its number")
            named.add(index)
            found[index] = of
        return tuple(found)
