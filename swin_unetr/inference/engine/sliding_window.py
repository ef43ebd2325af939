"""Segments an image that is larger than the network's window, where its scores fit into memory."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

from swin_unetr.config import InferenceConfig, NetworkConfig, Triple
from swin_unetr.errors import ConfigError
from swin_unetr.inference.engine.accumulate import Network, computed
from swin_unetr.inference.engine.sums import WeightedSum
from swin_unetr.inference.engine.windows import blending_weights, lay_windows
from transforms.linear import Box

#: Called with the number of windows that were just done.
OnWindows = Callable[[int], None]


def slide(image: Tensor, network: Network, config: InferenceConfig, on_windows: OnWindows | None = None) -> Tensor:
    """Scores of a whole image, all of them in memory, from overlapping windows blended by weight.

    An image smaller than a window is padded with zeros on both sides, and the padding cut off again.

    Args:
        image: channels x X x Y x Z, on the device of the network.
        network: maps B x channels x *roi_size to B x classes x *roi_size.
        config: the windows, and how many make one batch.
        on_windows: called with the number of windows that were just done.

    Returns:
        Scores before the activation, classes x X x Y x Z, float32 whatever the network computes in.
    """
    x, y, z = image.shape[1:]
    whole: Box = ((0, x), (0, y), (0, z))
    layout = lay_windows((x, y, z), config)
    weights = blending_weights(config, image.device)
    total: WeightedSum | None = None
    for start, result in computed(image.float(), layout, layout, network, config.batch_size):
        if total is None:
            total = WeightedSum(whole, len(result), result.device)
        total.add(result, weights, start)
        if on_windows is not None:
            on_windows(1)
    assert total is not None  # there is at least one window
    total.finish()
    return total.values


def check_roi_size(roi_size: Triple, network: NetworkConfig) -> None:
    """Refuse a window that the network cannot take.

    Raises:
        ConfigError: an axis is not a multiple of the network's divisor (the message gives the nearest one that is), or
            a baseline cannot take the size.
    """
    divisor = network.size_divisor
    if any(size % by for size, by in zip(roi_size, divisor, strict=True)):
        nearest = (by * max(1, math.floor(size / by + 0.5)) for size, by in zip(roi_size, divisor, strict=True))
        raise ConfigError(
            f"roi_size: {_words(roi_size)} does not suit the network, whose windows are multiples of "
            f"{_words(divisor)}; the nearest that does is {_words(nearest)}"
        )
    if network.baseline is not None:
        try:
            network.baseline.check_size(roi_size)
        except ValueError as error:
            raise ConfigError(f"roi_size: {error}") from error


def _words(size: object) -> str:
    return " ".join(map(str, size))  # type: ignore[call-overload]
