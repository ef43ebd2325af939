"""Crop and network that suit each other: sizes, patches, stages, strides and windows.

Axes are halved as in nnU-Net (Isensee et al., Nature Methods 18:203, 2021, Methods, "Network topology"): an axis is
halved only while its voxels are less than twice as large as the smallest of those that can be halved, so that coarse
axes wait for the others. The rest is our own, for attention in windows: windows tile the maps of a crop without
padding, and stages are added until one window sees the whole map.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from swin_unetr.config import NetworkConfig, Triple
from swin_unetr.planning.fingerprint import FloatTriple

#: Largest window along an axis, in tokens; the published one is 7.
LARGEST_WINDOW = 8
#: Fewest tokens along an axis that is halved once more, as in the published network (96 voxels, 3 tokens).
FEWEST_TOKENS = 3
FEWEST_STAGES, MOST_STAGES = 2, 4
#: An axis of fewer voxels is not cut into patches.
THIN = 8


@dataclass(frozen=True)
class Shape:
    """A crop in voxels, and the network for it; all triples along X, Y, Z."""

    crop: Triple
    patch: Triple
    #: One triple for each stage.
    strides: tuple[Triple, ...]
    window: Triple
    #: Tokens of the map that each stage attends to.
    maps: tuple[Triple, ...]

    @property
    def voxels(self) -> int:
        """Of the crop."""
        return math.prod(self.crop)

    def network(self, feature_size: int, *, gradient_checkpointing: bool) -> NetworkConfig:
        """The network of this shape: two blocks a stage, heads of 16 channels or a little less."""
        heads = math.ceil(feature_size / 16)
        return NetworkConfig(
            feature_size=feature_size,
            depths=(2,) * len(self.strides),
            num_heads=tuple(heads * 2**stage for stage in range(len(self.strides))),
            patch_size=self.patch,
            merge_strides=self.strides,
            window_size=self.window,
            gradient_checkpointing=gradient_checkpointing,
        )


def crop_sizes(largest: int) -> list[int]:
    """Sizes of a crop along an axis, up to one that covers `largest` voxels: 1 to 8, then 10, 12, 14, 16, 20, 24, 28...

    From 8 on each is 5, 6, 7 or 8 times a power of 2, so that it can be halved down to a map that one window sees.
    """
    sizes = list(range(1, min(largest, 8) + 1))
    step = 2
    while sizes[-1] < largest:
        for tokens in (5, 6, 7, 8):
            if sizes[-1] < largest:
                sizes.append(tokens * step)
        step *= 2
    return sizes


def shapes(median_shape: Sequence[float], spacing_mm: FloatTriple, most_voxels: int) -> Iterator[Shape]:
    """Shapes from the largest to the smallest: from a crop that covers a scan down to one of a few voxels.

    The axis along which the crop is longest in millimetres is shortened first, so that the crop tends to a cube.

    Args:
        median_shape: voxels of a scan on the target grid.
        spacing_mm: of the target grid.
        most_voxels: of a crop.
    """
    sizes = [crop_sizes(math.ceil(count)) for count in median_shape]
    while True:
        x, y, z = (each[-1] for each in sizes)
        if x * y * z <= most_voxels:
            yield shape_of((x, y, z), spacing_mm)
        shorter = [axis for axis in range(3) if len(sizes[axis]) > 1]
        if not shorter:
            return
        sizes[max(shorter, key=lambda axis: sizes[axis][-1] * spacing_mm[axis])].pop()


def shape_of(crop: Triple, spacing_mm: FloatTriple) -> Shape:
    """Patch, strides and windows for a crop."""
    finest = min(spacing_mm)
    patch = tuple(
        2 if voxels >= THIN and size < 2 * finest else 1 for voxels, size in zip(crop, spacing_mm, strict=True)
    )
    tokens = [voxels // step for voxels, step in zip(crop, patch, strict=True)]
    sizes = [size * step for size, step in zip(spacing_mm, patch, strict=True)]
    strides: list[Triple] = []
    maps: list[Triple] = []
    while len(strides) < MOST_STAGES:
        maps.append(_triple(tokens))
        step = _halving(tokens, sizes)
        strides.append(step)
        if len(strides) >= FEWEST_STAGES and max(tokens) <= LARGEST_WINDOW:
            break
        tokens = [count // by for count, by in zip(tokens, step, strict=True)]
        sizes = [size * by for size, by in zip(sizes, step, strict=True)]
    window = _triple([_window([tokens[axis] for tokens in maps]) for axis in range(3)])
    return Shape(crop, _triple(patch), tuple(strides), window, tuple(maps))


def _halving(tokens: Sequence[int], sizes: Sequence[float]) -> Triple:
    """2 for the axes that are halved, 1 for the others."""
    can = [count % 2 == 0 and count // 2 >= FEWEST_TOKENS for count in tokens]
    finest = min((size for size, able in zip(sizes, can, strict=True) if able), default=0.0)
    return _triple([2 if able and size < 2 * finest else 1 for able, size in zip(can, sizes, strict=True)])


def _window(counts: Sequence[int]) -> int:
    """The largest window that the maps of all stages are multiples of, or fit into."""
    widths = range(1, min(LARGEST_WINDOW, max(counts)) + 1)
    return max(width for width in widths if all(count <= width or count % width == 0 for count in counts))


def _triple(values: Sequence[int]) -> Triple:
    x, y, z = values
    return x, y, z
