"""Blocks of a scan: how it is cut into them, and which of them a crop touches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from swin_unetr.config import Triple

#: Longest edge of a block in voxels.
LONGEST_EDGE = 32


@dataclass(frozen=True)
class Part:
    """Where a block and a crop overlap along one axis."""

    block: int
    in_block: slice
    in_crop: slice


def overlaps(start: int, size: int, length: int, edge: int) -> list[Part]:
    """The blocks that a crop touches along one axis."""
    begin, end = max(start, 0), min(start + size, length)
    parts = []
    for block in range(begin // edge, -(-end // edge)) if begin < end else ():
        low, high = max(begin, block * edge), min(end, (block + 1) * edge)
        in_block = slice(low - block * edge, high - block * edge)
        parts.append(Part(block, in_block, slice(low - start, high - start)))
    return parts


def edge_of(length: int) -> int:
    """Edge of equal blocks: those of a fixed edge would double the size of a scan that is a little longer."""
    return math.ceil(length / math.ceil(length / LONGEST_EDGE))


def grid_of(shape: Triple, block: Triple) -> Triple:
    """Blocks along each axis."""
    x, y, z = (math.ceil(length / edge) for length, edge in zip(shape, block, strict=True))
    return x, y, z
