"""How windows are laid over an image, how they are weighted, and which of them are empty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from monai.data.utils import compute_importance_map
from torch import Tensor
from torch.nn.functional import pad

from swin_unetr.config import InferenceConfig, Triple
from transforms.linear import Box

#: First voxel along an axis, and the one after the last.
Span = tuple[int, int]


@dataclass(frozen=True)
class WindowLayout:
    """Windows over an image: every combination of a start along X, Y and Z, each combination once.

    Starts are voxels of the image. Along an axis on which the window is larger than the image there is a single start,
    which is negative: what lies outside the image counts as 0.
    """

    image_size: Triple
    roi_size: Triple
    #: Ascending, for each axis.
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def __len__(self) -> int:
        return math.prod(map(len, self.starts))

    def __iter__(self) -> Iterator[Triple]:
        return product(*self.starts)

    def box(self, start: Triple) -> Box:
        """The part of a window that lies in the image."""
        x, y, z = (
            (max(0, first), min(size, first + roi))
            for first, size, roi in zip(start, self.image_size, self.roi_size, strict=True)
        )
        return x, y, z

    def touching(self, axis: int, span: Span) -> list[int]:
        """Starts along an axis of the windows that touch a span of it."""
        low, high = span
        return [start for start in self.starts[axis] if start < high and low < start + self.roi_size[axis]]

    def inside(self, box: Box) -> Iterator[Triple]:
        """Starts of the windows that touch a box."""
        x, y, z = (self.touching(axis, span) for axis, span in enumerate(box))
        return product(x, y, z)

    def cut(self, image: Tensor, start: Triple) -> Tensor:
        """A window of a channels x X x Y x Z image, channels x *roi_size; a view where it lies inside."""
        box = self.box(start)
        x, y, z = (slice(*span) for span in box)
        inside = image[:, x, y, z]
        missing = [
            (low - first, first + roi - high) for first, roi, (low, high) in zip(start, self.roi_size, box, strict=True)
        ]
        return pad(inside, [each for axis in reversed(missing) for each in axis]) if any(map(any, missing)) else inside


def lay_windows(image_size: Triple, config: InferenceConfig) -> WindowLayout:
    """Lay windows as MONAI's `sliding_window_inference` does: by even steps, the last one moved back to the edge.

    Args:
        image_size: voxels X, Y, Z.
        config: size and overlap of the windows.
    """
    x, y, z = (
        _starts(size, roi, max(1, int(roi * (1 - config.overlap))))
        for size, roi in zip(image_size, config.roi_size, strict=True)
    )
    return WindowLayout(image_size, config.roi_size, (x, y, z))


def _starts(size: int, roi: int, step: int) -> tuple[int, ...]:
    if roi >= size:
        return (-((roi - size) // 2),)
    return (*range(0, size - roi, step), size - roi)


def blending_weights(config: InferenceConfig, device: torch.device) -> Tensor:
    """Weight of each voxel of a window, *roi_size, float32: MONAI's (Gaussian of 1/8 of the window, or all 1)."""
    weights: Tensor = compute_importance_map(config.roi_size, mode=config.weights, sigma_scale=0.125, device=device)
    return weights


def empty_windows(image: Tensor, layout: WindowLayout) -> frozenset[Triple]:
    """Starts of the windows in which every channel has one value throughout: air of CT, the outside of an MR.

    Args:
        image: channels x X x Y x Z.
        layout: of its windows.
    """
    return frozenset(start for start in layout if _is_constant(layout.cut(image, start)))


def _is_constant(window: Tensor) -> bool:
    # Nearly all windows differ within a few voxels; only the others are read whole.
    for part in (window[:, ::16, ::16, ::16], window):
        flat = part.flatten(1)
        if not bool((flat == flat[:, :1]).all()):
            return False
    return True
