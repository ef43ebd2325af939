"""The network of a plan, field by field, with the reasons; and how a crop compares with a scan."""

from __future__ import annotations

import math
from collections.abc import Iterator

from swin_unetr.planning.choices import Choice
from swin_unetr.planning.fingerprint import ScanPrint
from swin_unetr.planning.fit import Fitted
from swin_unetr.words import by


def network_choices(fitted: Fitted) -> Iterator[Choice]:
    """The fields of the network, with their reasons."""
    setting, shape = fitted.setting, fitted.setting.shape
    network = shape.network(setting.features, gradient_checkpointing=setting.gradient_checkpointing)
    sees = shape.maps[-1] <= shape.window
    yield Choice("network.feature_size", setting.features, "the widest that fits into time and memory")
    yield Choice(
        "network.depths", list(network.depths), f"{len(shape.strides)} stages: {_why_stages(shape.maps[-1], sees)}"
    )
    yield Choice("network.num_heads", list(network.num_heads), "of 16 channels or a little less")
    yield Choice("network.window_size", list(shape.window), "tiles the maps of all stages without padding")
    yield Choice("network.patch_size", list(shape.patch), _why_patch(shape.patch))
    strides = [list(stride) for stride in shape.strides]
    yield Choice(
        "network.merge_strides", strides, "an axis is halved while its voxels are not twice as large as others'"
    )
    why = "a third more time, for a larger crop" if setting.gradient_checkpointing else "everything fits without"
    yield Choice("network.gradient_checkpointing", setting.gradient_checkpointing, why)


def grid_choices(data: ScanPrint, fitted: Fitted, crop_field: str) -> Iterator[Choice]:
    """Voxel size and crop.

    Args:
        data: the scans in short.
        fitted: network and crop.
        crop_field: of the recipe that takes the crop.
    """
    shape = fitted.setting.shape
    yield Choice("preprocess.spacing_mm", list(fitted.grid.spacing_mm), fitted.grid.reason)
    median = fitted.grid.shape_of(data.median_shape, data.median_spacing_mm)
    share = min(1.0, shape.voxels / math.prod(median))
    words = " x ".join(f"{count:.0f}" for count in median)
    yield Choice(crop_field, list(shape.crop), f"{share:.0%} of a median scan of {words} voxels")


def _why_stages(last: tuple[int, ...], sees: bool) -> str:
    return f"the last attends to a map of {by(last)}" + (", all of it in one window" if sees else "")


def _why_patch(patch: tuple[int, ...]) -> str:
    whole = [name for name, size in zip("XYZ", patch, strict=True) if size == 1]
    return "as published" if not whole else f"few or thick voxels along {', '.join(whole)}"
