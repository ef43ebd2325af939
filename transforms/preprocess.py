"""From the files of a case to what the network sees.

MONAI's transforms do the steps (`transforms.steps`). Prediction does the same steps with `transforms.prepare`, in less
time and memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    Transform,
)
from torch import Tensor

from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.errors import DataError, SwinUnetrError
from swin_unetr.tasks import Task
from transforms.geometry import Volume, require_same_geometry
from transforms.io import read_image, read_labels
from transforms.labels import check_labels, encode_targets, relabelled, target_type
from transforms.spacing import resampling
from transforms.steps import (
    ROUNDING,
    CropForeground,
    Intensity,
    Orient,
    Resample,
    ScaleIntensity,
    Standardize,
    Step,
    Window,
    steps_of,
)


def preprocessing(config: PreprocessConfig, task: Task, *, with_label: bool) -> Compose:
    """The deterministic steps from files to tensors.

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
    steps = steps_of(config, len(task.channels), task.channels)
    return BareErrors([LoadCase(task, with_label=with_label), *as_monai(steps, keys), *encoding])


class BareErrors(Compose):  # type: ignore[misc]  # MONAI has no types
    """MONAI's chain of steps, without the `RuntimeError` that it wraps around errors which a user can correct."""

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
    """As `preprocessing`, for a scan in memory.

    Args:
        volume: C x X x Y x Z as stored.
        config: spacing, intensity and crop.
        channels: their names. If None, they are called by their numbers from 0.

    Returns:
        C x X x Y x Z, float32, RAS.

    Raises:
        ConfigError: an intensity of a channel that is not there.
        DataError: another number of names than of channels.
    """
    steps = steps_of(config, len(volume.array), channels)
    # A copy: MONAI's intensity transforms write into what they are given.
    image = _meta_tensor(np.array(volume.array, np.float32), volume.geometry.affine)
    preprocessed: MetaTensor = Compose(as_monai(steps, ["image"]))({"image": image})["image"]
    return preprocessed


def as_monai(steps: Iterable[Step], keys: Sequence[str]) -> list[Any]:
    """Steps as MONAI's transforms of a dict.

    Args:
        steps: which, in their order.
        keys: entries that they change: "image", or "image" and "label".
    """
    return [_as_monai(step, list(keys)) for step in steps]


def _as_monai(step: Step, keys: list[str]) -> Any:
    match step:
        case Orient():
            return Orientationd(keys, axcodes=step.axes, labels=step.directions)
        case CropForeground():
            return CropForegroundd(keys, source_key="image", select_fn=_Foreground(step.bounds), allow_smaller=True)
        case Resample():
            return resampling(step, keys)
        case ScaleIntensity():
            return ScaleChannels(step.channels)


class LoadCase(Transform):  # type: ignore[misc]
    """Read the files of a case and check that they belong together."""

    def __init__(self, task: Task, *, with_label: bool) -> None:
        self.task = task
        self.with_label = with_label

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add "image", "geometry" and, with `with_label`, "label" to {"case": Case}."""
        case: Case = values["case"]
        volume = read_image(case.images, channels=len(self.task.channels))
        loaded = {**values, "geometry": volume.geometry, "image": _meta_tensor(volume.array, volume.geometry.affine)}
        if self.with_label:
            if case.label is None:
                raise DataError(f"{case.images[0]}: has no label file; add one or leave the case out")
            label = read_labels(case.label, like=volume.geometry)
            require_same_geometry(case.label, label.geometry, case.images[0], volume.geometry)
            check_labels(np.unique(label.array), case.task or self.task, case.label)
            array = label.array if case.task is None else relabelled(label.array, case.task, self.task)
            # The affine of the image: the label's may differ by rounding, and the two must stay voxel on voxel.
            loaded["label"] = _meta_tensor(array.astype(np.float32), volume.geometry.affine)
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

    def __init__(self, channels: Sequence[Intensity]) -> None:
        self.scalings = [_scaling(of) for of in channels]

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """Scale each channel by itself."""
        image = values["image"]
        for channel, scaling in zip(range(len(image)), self.scalings, strict=True):
            image[channel] = scaling(image[channel : channel + 1])[0]
        return {**values, "image": image}


class ScaleByDeviation(Transform):  # type: ignore[misc]
    """MONAI's `NormalizeIntensity` of one channel; a channel that is constant up to rounding is only shifted.

    Once it is resampled, a constant channel varies by rounding errors, which MONAI scales to unit size.

    Args:
        nonzero: whether only the values that are not 0 count and change.
    """

    def __init__(self, *, nonzero: bool) -> None:
        self.nonzero = nonzero
        self.scale = NormalizeIntensity(nonzero=nonzero, channel_wise=True)
        self.shift = NormalizeIntensity(nonzero=nonzero, channel_wise=True, divisor=[1.0])

    def __call__(self, image: Tensor) -> Tensor:
        """1 x X x Y x Z."""
        if self.nonzero:  # where a plane of the new grid falls on one of zeros, rounding leaves 1e-15 of its neighbours
            image = torch.where(image.abs() > ROUNDING * image.abs().max(), image, 0.0)
        counted = (image[image != 0] if self.nonzero else image).double()
        constant = counted.numel() and float(counted.std(correction=0)) <= ROUNDING * abs(float(counted.mean()))
        result: Tensor = (self.shift if constant else self.scale)(image)
        return result


class ClipAndStandardize(Transform):  # type: ignore[misc]
    """nnU-Net's normalisation of a CT channel (`transforms.steps.Standardize`)."""

    def __init__(self, of: Standardize) -> None:
        self.of = of

    def __call__(self, image: Tensor) -> Tensor:
        """1 x X x Y x Z."""
        return (image.clamp(self.of.low, self.of.high) - self.of.mean) / self.of.std


class _Foreground:
    """Where a scan shows something (`transforms.steps.CropForeground`)."""

    def __init__(self, bounds: Sequence[float | None]) -> None:
        self.bounds = bounds

    def __call__(self, image: Tensor) -> Tensor:
        channels = zip(image, self.bounds, strict=True)
        shown = torch.stack([channel != 0 if bound is None else channel > bound for channel, bound in channels])
        # A scan without foreground is kept whole; others refuse it.
        return shown if shown.any() else torch.ones_like(image, dtype=torch.bool)


def _scaling(of: Intensity) -> Any:
    """MONAI's transform of one channel."""
    if isinstance(of, Window):
        return ScaleIntensityRange(a_min=of.low, a_max=of.high, b_min=0.0, b_max=1.0, clip=True)
    if isinstance(of, Standardize):
        return ClipAndStandardize(of)
    return ScaleByDeviation(nonzero=of.nonzero)


def _meta_tensor(array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array)), affine=torch.from_numpy(affine.copy()))
