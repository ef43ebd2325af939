"""One model at work on a scan: its windows, and its passes over the tiles of a plan."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, combinations

import torch
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.inference.engine.accumulate import Network, Sweep
from swin_unetr.inference.engine.finish import Pass
from swin_unetr.inference.engine.memory_plan import MemoryPlan
from swin_unetr.inference.engine.models import Member
from swin_unetr.inference.engine.watch import Watch
from swin_unetr.inference.engine.windows import blending_weights, empty_windows, lay_windows
from transforms.grids import Grids
from transforms.linear import Box

#: Dimension of X in a batch of windows.
_X = 2


class Work:
    """A model and the windows that it sees of a scan.

    Args:
        member: the model.
        prepared: channels x X x Y x Z, on the CPU.
        image: the same on the device of the network.
        skip_empty: whether empty windows are left out.
        watch: takes the signals of the windows. If None, there are none.
    """

    def __init__(
        self, member: Member, prepared: Tensor, image: Tensor, skip_empty: bool, watch: Watch | None = None
    ) -> None:
        self._watch = watch
        x, y, z = image.shape[1:]
        self._member = member
        self._layout = lay_windows((x, y, z), member.inference)
        self._weights = blending_weights(member.inference, image.device)
        self._skip = empty_windows(prepared, self._layout) if skip_empty else frozenset[Triple]()
        self._image = image

    def count(self, grids: Grids, plan: MemoryPlan) -> int:
        """Windows to compute, without those left out."""
        owned = [_owned(grids, tile) for tile in plan.tiles]
        return sum(start not in self._skip for box in owned for start in self._layout.inside(box))

    def open(self, grids: Grids, plan: MemoryPlan, tile: Box, on_windows: Callable[[int], None]) -> Pass:
        """Begin a tile."""
        member = self._member
        classes = member.backend.channels if member.head is None else len(member.head.bias)
        sweep = Sweep(
            self._image,
            self._layout,
            plan.axis,
            _owned(grids, tile),
            network_of(member, self._watch),
            channels=member.backend.channels,
            weights=self._weights,
            batch_size=member.inference.batch_size,
            skip=self._skip,
            accumulate=plan.accumulate,
            on_windows=on_windows,
            before=None if self._watch is None else self._watch.expect,
        )
        return Pass(sweep, member.head, max(classes, member.backend.channels))


def _owned(grids: Grids, tile: Box) -> Box:
    x, y, z = (grids.needed(axis, range(*span)) for axis, span in enumerate(tile))
    return x, y, z


def network_of(member: Member, watch: Watch | None = None) -> Network:
    """The network of a model; with `tta` its mean over mirror images of each window, along the model's own axes.

    Where a mirror image along X shows the left kidney, the right one is: their scores are exchanged.

    Args:
        member: the model.
        watch: takes the signals of the windows. If None, there are none.
    """
    if not member.inference.tta:
        return member.backend if watch is None else watch.around(member.backend)
    dims = [axis + 2 for axis in member.inference.mirror_axes]
    mirrorings = list(chain.from_iterable(combinations(dims, number) for number in range(len(dims) + 1)))

    def view(windows: Tensor, flipped: tuple[int, ...]) -> Tensor:
        scores = member.backend(windows.flip(flipped)).float().flip(flipped)
        return scores[:, list(member.exchange)] if member.exchange and _X in flipped else scores

    def mean(windows: Tensor) -> Tensor:
        total = torch.zeros((), device=windows.device)
        for flipped in mirrorings:  # each result is used up before the next call, which may overwrite it
            scores = view(windows, flipped)
            total = total + scores
            if watch is not None:
                watch.view(scores)
        return total.div_(len(mirrorings))

    return mean if watch is None else watch.around(mean)
