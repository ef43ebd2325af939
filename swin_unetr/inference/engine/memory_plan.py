"""How a scan is segmented within a budget of memory: the axis of the sweep, the tiles, and the type of the sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from swin_unetr.errors import ConfigError
from swin_unetr.inference.engine.accumulate import leaves_memory, spans
from swin_unetr.inference.engine.sums import SUMS, Accumulate
from swin_unetr.inference.engine.windows import Span, WindowLayout
from swin_unetr.machine import size_in_words
from swin_unetr.words import count
from transforms.grids import Grids
from transforms.linear import Box

#: Prepared planes that are finished at once; with more, memory is held longer; fewer are interpolated less well.
_SLAB_PLANES = 16
#: A tile is no narrower than this share of a window: all the windows around it are computed for it.
_NARROWEST = 4


@dataclass(frozen=True)
class Summed:
    """What one model sums over its windows."""

    layout: WindowLayout
    #: Class scores or features.
    channels: int


@dataclass(frozen=True)
class MemoryPlan:
    """How a scan is segmented."""

    #: Windows are computed and blocks finished along this axis of the prepared grid.
    axis: int
    #: Boxes of the native grid that are segmented one after the other; whole along the axis.
    tiles: tuple[Box, ...]
    #: Native planes that are finished at once.
    slab: int
    #: Windows to compute, empty ones included; a window at a border of tiles counts once for each tile.
    windows: int
    #: Most bytes that are held at a time, and the limit for them.
    bytes: int
    budget: int
    #: The part of `bytes` that depends on the plan: the sums.
    sums: int = 0
    #: What is summed, in words, and the type of the sums.
    summed: str = ""
    accumulate: Accumulate = "float32"

    @property
    def text(self) -> str:
        """The plan in one line."""
        tiles = f"{len(self.tiles)} tiles" if len(self.tiles) > 1 else "one piece"
        half = "" if self.accumulate == "float32" else f" in {self.accumulate}"
        return (
            f"{count(self.windows, 'window')}; {self.summed} summed{half} along {'XYZ'[self.axis]} in {tiles}; "
            f"at most {size_in_words(self.bytes)} of {size_in_words(self.budget)} memory"
        )

    def __str__(self) -> str:
        return self.text

    def slabs(self, tile: Box) -> Iterator[Box]:
        """A tile's slabs in the order of the sweep."""
        first, stop = tile[self.axis]
        for low in range(first, stop, self.slab):
            x, y, z = ((low, min(low + self.slab, stop)) if axis == self.axis else tile[axis] for axis in range(3))
            yield x, y, z


def make_plan(
    members: Sequence[Summed],
    grids: Grids,
    *,
    fixed: int,
    budget: int,
    slack: float = 1.0,
    most_sums: int | None = None,
    summed: str = "",
    accumulate: str = "auto",
) -> MemoryPlan:
    """The plan with the fewest windows that fits.

    Sums in float16 may change labels, tiles do not: they come only after all tiles.

    Args:
        members: what each model sums; all of them at the same time.
        grids: the grids.
        fixed: bytes that are held whatever the plan.
        budget: bytes that may be held.
        slack: bytes that are really taken for each byte of the sums.
        most_sums: bytes that the sums may take, after more of them failed. If None, only the budget limits them.
        summed: what is summed, in words.
        accumulate: type of the sums, or "auto": float16 where nothing fits in float32.

    Raises:
        ConfigError: no plan fits; gives the least memory that is enough.
    """
    axis = max(range(3), key=lambda each: grids.prepared_shape[each])
    size, prepared = grids.native_shape, grids.prepared_shape
    slab = max(1, round(_SLAB_PLANES * size[axis] / prepared[axis]))
    kinds = [kind for kind in SUMS if accumulate in ("auto", kind)]
    candidates = list(_candidates(members, grids, axis, slab, kinds))
    sums = {each: int(slack * each.bytes) for each in candidates}
    taken = {each: fixed + sums[each] for each in candidates}
    fitting = [each for each in candidates if taken[each] <= budget and (most_sums is None or sums[each] <= most_sums)]
    if not fitting:
        least = min(candidates, key=lambda each: each.bytes)
        half = "" if least.kind == "float32" else f", with sums in {least.kind}"
        raise ConfigError(
            f"max_memory: {size_in_words(budget)} is too little for this scan, which needs at least "
            f"{size_in_words(taken[least])}{half}"
        )
    best = min(fitting, key=lambda each: (kinds.index(each.kind), each.windows, each.bytes))
    tiles = []
    for across in product(best.one.native, best.other.native):
        spans_of_tile = list(across)
        spans_of_tile.insert(axis, (0, size[axis]))
        x, y, z = spans_of_tile
        tiles.append((x, y, z))
    return MemoryPlan(axis, tuple(tiles), slab, best.windows, taken[best], budget, sums[best], summed, best.kind)


@dataclass(frozen=True, eq=False)
class _Cuts:
    """One way to cut an axis."""

    native: list[Span]
    #: For each model: windows along the axis, counted for each piece that they touch.
    windows: list[int]
    #: The most prepared planes that a piece needs.
    widest: int


def _cuts(members: Sequence[Summed], grids: Grids, axis: int) -> list[_Cuts]:
    """The ways to cut an axis evenly, beginning with one piece."""
    size = grids.native_shape[axis]
    narrowest = min(member.layout.roi_size[axis] for member in members) / _NARROWEST
    most = max(1, min(size, int(grids.prepared_shape[axis] / narrowest)))
    found = []
    for number in range(1, most + 1):
        native = list(pairwise(size * index // number for index in range(number + 1)))
        needed = [grids.needed(axis, range(*span)) for span in native]
        windows = [sum(len(member.layout.touching(axis, span)) for span in needed) for member in members]
        found.append(_Cuts(native, windows, max(high - low for low, high in needed)))
    return found


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One way to segment a scan."""

    kind: Accumulate
    #: Of the axes that are not swept.
    one: _Cuts
    other: _Cuts
    #: Windows to compute, and bytes of the sums that are held at a time.
    windows: int
    bytes: int


def _candidates(
    members: Sequence[Summed], grids: Grids, axis: int, slab: int, kinds: Sequence[Accumulate]
) -> Iterator[_Candidate]:
    """All ways to sum and to cut, beginning with one piece."""
    first, second = (_cuts(members, grids, other) for other in range(3) if other != axis)
    held = [planes_held(member.layout, axis, grids, slab) for member in members]
    for kind, one, other in product(kinds, first, second):
        windows = sum(
            len(member.layout.starts[axis]) * along * across
            for member, along, across in zip(members, one.windows, other.windows, strict=True)
        )
        voxel = [SUMS[kind].voxel_bytes(member.channels) for member in members]
        column = sum(planes * each for planes, each in zip(held, voxel, strict=True))
        yield _Candidate(kind, one, other, windows, column * one.widest * other.widest)


def planes_held(layout: WindowLayout, axis: int, grids: Grids, slab: int) -> int:
    """The most planes that a `Sweep` holds at a time when native slabs are asked for in turn."""
    size, starts, roi = grids.native_shape[axis], layout.starts[axis], layout.roi_size[axis]
    pieces = spans(layout, axis)
    most = 0
    for low in range(0, size, slab):
        first, stop = grids.needed(axis, range(low, min(low + slab, size)))
        piece = next(piece for piece in pieces if first < piece[1])
        held_from = first if leaves_memory(piece, first) else piece[0]
        last = max(start for start in starts if start < stop)
        most = max(most, min(layout.image_size[axis], last + roi) - held_from)
    return most
