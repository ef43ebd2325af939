"""Configuration of the way from a file to what the network sees. Knows no torch; imported from `swin_unetr.config`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class IntensityConfig:
    """How voxel values are normalised before the network sees them."""

    #: "hu_window": clip to `window` and map it onto 0..1. "zscore_nonzero": zero mean and unit deviation over the
    #: non-zero voxels of each channel (BraTS). "zscore": the same over all voxels of each channel. "hu_zscore": clip to
    #: `window`, subtract `mean` and divide by `std` (nnU-Net's CT); what lies beyond a scan is then 0, the mean.
    scheme: Literal["hu_window", "zscore_nonzero", "zscore", "hu_zscore"] = "zscore_nonzero"
    #: Lower and upper bound in Hounsfield units, or in the unit of the channel, for "hu_window" and "hu_zscore".
    window: tuple[float, float] = (-175.0, 250.0)
    #: For "hu_zscore": mean over the voxels of the structures of all training scans, in the unit of the channel.
    mean: float | None = None
    #: For "hu_zscore": their standard deviation.
    std: float | None = None

    def __post_init__(self) -> None:
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window: lower bound must lie below the upper, got {self.window}")
        if self.std is not None and not 0 < self.std < math.inf:
            raise ValueError(f"std: must be positive, got {self.std}")
        if self.mean is not None and not math.isfinite(self.mean):
            raise ValueError(f"mean: must be a number, got {self.mean}")
        if self.scheme == "hu_zscore":
            for name in ("mean", "std"):
                if getattr(self, name) is None:
                    raise ValueError(
                        f"{name}: scheme hu_zscore needs it, of the structures' voxels over all training scans; "
                        "fingerprint.json of a plan has it"
                    )

    @property
    def is_hounsfield(self) -> bool:
        """Whether the scheme is for values with a fixed unit, as CT has, which it clips to `window`."""
        return self.scheme in ("hu_window", "hu_zscore")


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
    #: Crop to the box around the foreground of any channel (values above the window's lower bound of "hu_window" and
    #: "hu_zscore", else voxels that are not 0).
    crop_foreground: bool = True
    #: How scans are resampled to `spacing_mm`: "linear", or "cubic" (Catmull-Rom: sharper, over four voxels an axis). A
    #: scan whose slices are sheared against each other (a tilted gantry) is always resampled linearly.
    image_interpolation: Literal["linear", "cubic"] = "linear"
    #: How label maps are resampled: "nearest" voxel, or "linear": each label by itself, the largest share wins, so that
    #: surfaces are smoother.
    label_interpolation: Literal["nearest", "linear"] = "nearest"
    #: Across slices: "same" as within them, or "auto": the nearest slice where voxels of the scan, or else of
    #: `spacing_mm`, are more than 3 times as long along one axis as along the others (nnU-Net's rule).
    through_plane: Literal["same", "auto"] = "same"

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
