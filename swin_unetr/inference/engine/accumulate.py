"""Computes the windows of an image, and holds only the few planes that they touch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.inference.engine.sums import SUMS, Accumulate, WeightedSum, with_span
from swin_unetr.inference.engine.windows import Span, WindowLayout
from transforms.linear import Box

#: Maps B x channels x *roi_size to B x what is summed x *roi_size.
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Block:
    """Means of a box of the image."""

    #: channels x *box; to be read only.
    values: Tensor
    #: *box: where windows were computed; None if they were computed everywhere.
    covered: Tensor | None


class Sweep:
    """Computes the windows of an image in the order of one axis, and holds only the planes they still touch.

    Planes are asked for in ascending order: `reach` computes what they need, `block` reads them, `release` gives them
    back. A voxel's terms are summed in the order of their windows, whatever box is owned: the result does not depend
    on how an image was cut into boxes.

    Args:
        image: channels x X x Y x Z, on the device of the network.
        layout: of the windows.
        axis: the sweep goes along it.
        owned: the box whose means are wanted; it spans the whole axis. Windows that do not touch it are not computed.
        network: computes the output of a batch of windows.
        channels: of its output.
        weights: of a window's voxels.
        batch_size: windows in a batch.
        skip: starts of the windows to leave out.
        accumulate: type of the sums.
        on_windows: called with the number of windows that were just computed.
        before: called with the starts of the windows that the next calls of the network are for, in their order.
    """

    def __init__(
        self,
        image: Tensor,
        layout: WindowLayout,
        axis: int,
        owned: Box,
        network: Network,
        *,
        channels: int,
        weights: Tensor,
        batch_size: int = 1,
        skip: Set[Triple] = frozenset(),
        accumulate: Accumulate = "float32",
        on_windows: Callable[[int], None] | None = None,
        before: Callable[[list[Triple]], None] | None = None,
    ) -> None:
        self._before = before
        self._image, self._layout, self._axis, self._owned = image, layout, axis, owned
        self._network, self._channels, self._weights = network, channels, weights
        self._batch_size, self._skip, self._on_windows = batch_size, skip, on_windows
        self._sum = SUMS[accumulate]
        self._spans = spans(layout, axis)
        self._sums: dict[Span, WeightedSum] = {}
        self._layers = layers(layout, axis, owned)
        self._next = self._released = 0

    @property
    def device(self) -> torch.device:
        """Where it sums."""
        return self._image.device

    def reach(self, stop: int) -> None:
        """Compute windows until all planes before `stop` are final."""
        starts = self._layout.starts[self._axis]
        while self._next < len(starts) and starts[self._next] < stop:
            self._compute([start for start in self._layers[self._next] if start not in self._skip])
            self._next += 1
            final = starts[self._next] if self._next < len(starts) else self._layout.image_size[self._axis]
            for span, total in self._sums.items():
                if starts[self._next - 1] < span[1] <= final:
                    total.finish()

    def release(self, before: int) -> None:
        """Planes before this one are not asked for any more."""
        self._released = before
        for span in [span for span in self._sums if span[0] < before]:
            total = self._sums[span]
            if span[1] <= before:
                del self._sums[span]
            elif leaves_memory(span, before) and total.box[self._axis][0] < before:
                total.keep_from(self._axis, before)

    def block(self, box: Box) -> Block | None:
        """Means of a box whose planes were reached; None if no window of it was computed."""
        first, stop = box[self._axis]
        pieces = [
            (span, self._sums.get(span), with_span(box, self._axis, (max(first, span[0]), min(stop, span[1]))))
            for span in self._spans
            if span[0] < stop and first < span[1]
        ]
        if all(total is None for _, total, _ in pieces):
            return None
        blocks = [self._piece(total, part) for _, total, part in pieces]
        if len(blocks) == 1:
            return blocks[0]
        values = torch.cat([block.values for block in blocks], dim=self._axis + 1)
        if all(block.covered is None for block in blocks):
            return Block(values, None)
        covered = [
            torch.ones_like(block.values[0], dtype=torch.bool) if block.covered is None else block.covered
            for block in blocks
        ]
        return Block(values, torch.cat(covered, dim=self._axis))

    def _piece(self, total: WeightedSum | None, box: Box) -> Block:
        if total is None:
            size = [high - low for low, high in box]
            nothing = self._image.new_zeros(size, dtype=torch.bool)
            return Block(torch.zeros(self._channels, *size, device=self._image.device), nothing)
        x, y, z = (slice(low - base, high - base) for (low, high), (base, _) in zip(box, total.box, strict=True))
        return Block(total.means(x, y, z), None if total.covered is None else total.covered[x, y, z])

    def _compute(self, starts: list[Triple]) -> None:
        if self._before is not None:
            self._before(starts)
        for start, result in computed(self._image, self._layout, starts, self._network, self._batch_size):
            for span in self._spans:
                if (
                    max(start[self._axis], self._released) < span[1]
                    and span[0] < start[self._axis] + self._layout.roi_size[self._axis]
                ):
                    if span not in self._sums:
                        box = with_span(self._owned, self._axis, (max(span[0], self._released), span[1]))
                        self._sums[span] = self._sum(box, self._channels, result.device)
                    self._sums[span].add(result, self._weights, start)
            del result  # else it is held while the next batch is computed
            if self._on_windows is not None:
                self._on_windows(1)


def computed(
    image: Tensor, layout: WindowLayout, starts: Iterable[Triple], network: Network, batch_size: int
) -> Iterator[tuple[Triple, Tensor]]:
    """What the network gives for windows, batch by batch: their starts, and channels x *roi_size."""
    left = list(starts)
    while left:
        batch, left = left[:batch_size], left[batch_size:]
        # Without a name, so that the output of a batch is not held while the next one is computed.
        yield from zip(batch, network(torch.stack([layout.cut(image, start) for start in batch])), strict=True)


def spans(layout: WindowLayout, axis: int) -> list[Span]:
    """The pieces of an axis between the ends of windows: every window covers whole pieces."""
    size = layout.image_size[axis]
    starts, roi = layout.starts[axis], layout.roi_size[axis]
    ends = sorted({0, size, *(min(size, max(0, end)) for start in starts for end in (start, start + roi))})
    return list(pairwise(ends))


def layers(layout: WindowLayout, axis: int, owned: Box) -> list[list[Triple]]:
    """Windows that touch a box, by their start along an axis; ascending."""
    touching = [layout.touching(other, span) for other, span in enumerate(owned)]
    found = []
    for start in layout.starts[axis]:
        x, y, z = ([start] if other == axis else touching[other] for other in range(3))
        found.append(list(product(x, y, z)))
    return found


def leaves_memory(span: Span, before: int) -> bool:
    """Whether freeing the planes before `before` is worth a copy of the others: if fewer are left than are freed."""
    return 2 * before > sum(span)
