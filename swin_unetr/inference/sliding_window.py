"""Segments an image that is larger than the network's window. The only place that knows how windows are laid."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers import sliding_window_inference
from torch import Tensor

from swin_unetr.config import InferenceConfig, NetworkConfig, Triple
from swin_unetr.errors import ConfigError

#: Called with the number of windows that were just done.
OnWindows = Callable[[int], None]


def slide(
    image: Tensor,
    network: Callable[[Tensor], Tensor],
    config: InferenceConfig,
    on_windows: OnWindows | None = None,
) -> Tensor:
    """Scores of a whole image, from overlapping windows blended with Gaussian weights.

    An image smaller than a window is padded with zeros on both sides, and the padding cut off again.

    Args:
        image: channels x X x Y x Z, on the device of the network.
        network: maps B x channels x *roi_size to B x classes x *roi_size.
        config: size and overlap of the windows, and how many make one batch.
        on_windows: told of the progress.

    Returns:
        Scores before the activation, classes x X x Y x Z, float32 whatever the network computes in.
    """

    def predictor(windows: Tensor) -> Tensor:
        scores = network(windows).float()
        if on_windows is not None:
            on_windows(len(windows))
        return scores

    scores = sliding_window_inference(
        image[None].float(),
        roi_size=config.roi_size,
        sw_batch_size=config.batch_size,
        predictor=predictor,
        overlap=config.overlap,
        mode="gaussian",
    )
    assert isinstance(scores, torch.Tensor)
    return scores[0]


def count_windows(image_size: Triple, config: InferenceConfig) -> int:
    """How many windows `slide` lays over an image of this size in voxels."""
    size = tuple(max(pair) for pair in zip(image_size, config.roi_size, strict=True))
    steps = tuple(
        roi if roi == axis else max(1, int(roi * (1 - config.overlap)))
        for axis, roi in zip(size, config.roi_size, strict=True)
    )
    return len(dense_patch_slices(size, config.roi_size, steps))


def check_roi_size(roi_size: Triple, network: NetworkConfig) -> None:
    """Refuse a window that the network cannot take.

    Raises:
        ConfigError: an axis is no multiple of the network's; the message gives the nearest size that is.
    """
    divisor = network.size_divisor
    if any(size % by for size, by in zip(roi_size, divisor, strict=True)):
        nearest = (by * max(1, math.floor(size / by + 0.5)) for size, by in zip(roi_size, divisor, strict=True))
        raise ConfigError(
            f"roi_size: {_words(roi_size)} does not suit the network, whose windows are multiples of "
            f"{_words(divisor)}; the nearest that does is {_words(nearest)}"
        )


def _words(size: object) -> str:
    return " ".join(map(str, size))  # type: ignore[call-overload]
