"""From the files of a case to what the network sees.

The steps are MONAI's transforms. Prediction goes the same way by `transforms.prepare`, in less time and memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CropForegroundd,
    NormalizeIntensity,
    Orientationd,
    ScaleIntensityRange,
    Spacingd,
    Transform,
)
from torch import Tensor

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.errors import ConfigError, DataError, SwinUnetrError
from swin_unetr.tasks import Task
from transforms.geometry import Volume, require_same_geometry
from transforms.io import read_image, read_labels
from transforms.labels import check_labels, encode_targets, target_type

#: Of what becomes of a file: raised by one whenever the same file and configuration give other voxels or labels than
#: before, be it by the steps here, by the encoding of labels or by the reading of files. Stores are made anew then.
VERSION = 1
#: Direction of an axis, negative and positive, as MONAI wants it said.
RAS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def preprocessing(config: PreprocessConfig, task: Task, *, with_label: bool) -> Compose:
    """The deterministic way from files to tensors.

    Args:
        config: spacing, intensity and crop.
        task: number of channels, and what label values mean.
        with_label: whether to read and encode the label map too.

    Returns:
        A transform of a dict {"case": Case}. It adds "image" (MetaTensor C x X x Y x Z, float32, RAS), "geometry" (of
        the source) and, with `with_label`, "label" (a plain tensor, see `transforms.labels.encode_targets`). It raises
        `DataError` or `GeometryError` for files that cannot be used.

    Raises:
        ConfigError: an intensity of a channel that the task does not have, or too many structures.
    """
    keys = ["image", "label"] if with_label else ["image"]
    encoding: list[Any] = [EncodeTargets(task)] if with_label else []
    intensities = channel_intensities(config, task.channels)
    return Steps([LoadCase(task, with_label=with_label), *_steps(config, intensities, keys), *encoding])


def preprocessing_key(config: PreprocessConfig, channels: Sequence[str] | None = None) -> dict[str, Any]:
    """All that the voxels of a preprocessed scan depend on, beside its files, as plain JSON.

    What changes nothing, such as the window of a z-score or the names of channels, is not in it.

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
        "version": VERSION,
        "spacing_mm": None if config.spacing_mm is None else [float(size) for size in config.spacing_mm],
        "crop_foreground": config.crop_foreground,
        "intensity": intensities,
    }


def _intensity_key(config: IntensityConfig) -> list[Any]:
    return [config.scheme, *([float(bound) for bound in config.window] if config.scheme == "hu_window" else [])]


class Steps(Compose):  # type: ignore[misc]  # MONAI has no types
    """MONAI's chain of steps, which wraps every error in a `RuntimeError`; those that a user can mend come out bare."""

    def __call__(self, values: Any, *_: Any, **__: Any) -> Any:
        """Go through all steps."""
        try:
            return super().__call__(values)
        except RuntimeError as error:
            failure: BaseException = error
        cause: BaseException | None = failure
        while cause is not None and not isinstance(cause, SwinUnetrError):
            cause = cause.__cause__
        raise cause or failure


def preprocess_volume(volume: Volume, config: PreprocessConfig, channels: Sequence[str] | None = None) -> MetaTensor:
    """The same for a scan in memory.

    Args:
        volume: C x X x Y x Z as stored.
        config: spacing, intensity and crop.
        channels: their names. If None, they are called by their numbers from 0.

    Returns:
        C x X x Y x Z, float32, RAS.

    Raises:
        ConfigError: an intensity of a channel that is not there.
    """
    intensities = channel_intensities(config, channels or [str(number) for number in range(len(volume.array))])
    # A copy: MONAI's intensity transforms write into what they are given.
    image = _meta_tensor(np.array(volume.array, np.float32), volume.geometry.affine)
    preprocessed: MetaTensor = Compose(_steps(config, intensities, ["image"]))({"image": image})["image"]
    return preprocessed


def channel_intensities(config: PreprocessConfig, channels: Sequence[str]) -> tuple[IntensityConfig, ...]:
    """The intensity of each channel (`PreprocessConfig.intensities`).

    Raises:
        ConfigError: an intensity of a channel that is not there.
    """
    try:
        return config.intensities(channels)
    except ValueError as error:
        raise ConfigError(f"preprocess.{error}") from error


def _steps(config: PreprocessConfig, intensities: Sequence[IntensityConfig], keys: list[str]) -> list[Any]:
    """From stored voxels to the network's grid and intensities."""
    steps: list[Any] = [Orientationd(keys, axcodes="RAS", labels=RAS_LABELS)]
    if config.crop_foreground:
        # Before the resampling: it is the larger of the two savings, and the box is found on the scanner's own voxels.
        select = _Foreground(intensities)
        steps.append(CropForegroundd(keys, source_key="image", select_fn=select, allow_smaller=True))
    if config.spacing_mm is not None:
        modes = ["bilinear", "nearest"][: len(keys)]
        steps.append(Spacingd(keys, pixdim=config.spacing_mm, mode=modes, padding_mode="border"))
    steps.append(ScaleChannels(intensities))
    return steps


class LoadCase(Transform):  # type: ignore[misc]
    """Read the files of a case and check that they belong together."""

    def __init__(self, task: Task, *, with_label: bool) -> None:
        self.task = task
        self.with_label = with_label

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add "image", "geometry" and, where wanted, "label" to {"case": Case}."""
        case: Case = values["case"]
        volume = read_image(case.images, channels=len(self.task.channels))
        loaded = {**values, "geometry": volume.geometry, "image": _meta_tensor(volume.array, volume.geometry.affine)}
        if self.with_label:
            if case.label is None:
                raise DataError(f"{case.images[0]}: has no label file; add one or leave the case out")
            label = read_labels(case.label, like=volume.geometry)
            require_same_geometry(case.label, label.geometry, case.images[0], volume.geometry)
            check_labels(np.unique(label.array), self.task, case.label)
            # The affine of the image: the label's may differ by rounding, and the two must stay voxel on voxel.
            loaded["label"] = _meta_tensor(label.array.astype(np.float32), volume.geometry.affine)
        return loaded


class EncodeTargets(Transform):  # type: ignore[misc]
    """Turn label values into targets."""

    def __init__(self, task: Task) -> None:
        target_type(task)  # refuses too many structures before a file is read
        self.task = task

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Replace "label" by its encoding."""
        return {**values, "label": encode_targets(values["label"].as_tensor().round().long(), self.task)}


class ScaleChannels(Transform):  # type: ignore[misc]
    """Give each channel of "image" the intensities that the network sees."""

    def __init__(self, intensities: Sequence[IntensityConfig]) -> None:
        self.steps = [_intensity(of) for of in intensities]

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Scale each channel by itself."""
        image = values["image"]
        if len(image) != len(self.steps):
            raise DataError(f"a scan has {len(image)} channels where intensities of {len(self.steps)} are given")
        for channel, step in enumerate(self.steps):
            image[channel] = step(image[channel : channel + 1])[0]
        return {**values, "image": image}


class _Foreground:
    """Where a scan shows something: above the window's lower bound of a channel that has one, else not zero."""

    def __init__(self, intensities: Sequence[IntensityConfig]) -> None:
        self.bounds = [of.window[0] if of.scheme == "hu_window" else None for of in intensities]

    def __call__(self, image: Tensor) -> Tensor:
        channels = zip(image, self.bounds, strict=True)
        shown = torch.stack([channel != 0 if bound is None else channel > bound for channel, bound in channels])
        # A scan without foreground is kept whole: it is not this step's to refuse it.
        return shown if shown.any() else torch.ones_like(image, dtype=torch.bool)


def _intensity(config: IntensityConfig) -> Any:
    if config.scheme == "hu_window":
        low, high = config.window
        return ScaleIntensityRange(a_min=low, a_max=high, b_min=0.0, b_max=1.0, clip=True)
    return NormalizeIntensity(nonzero=config.scheme == "zscore_nonzero", channel_wise=True)


def _meta_tensor(array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array)), affine=torch.from_numpy(affine.copy()))
