"""Watches a model's network at work on windows, for the signals of a case."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from swin_unetr.config import Triple
from swin_unetr.inference.engine.accumulate import Network
from swin_unetr.inference.engine.models import Member
from swin_unetr.trust.recorder import Recorder, pooled


class Watch:
    """Pairs what a network gives with the windows that it was called for.

    Args:
        member: the model.
        index: its number in the ensemble.
        recorder: takes the signals.
    """

    def __init__(self, member: Member, index: int, recorder: Recorder) -> None:
        self._index, self._recorder, self._head = index, recorder, member.head
        self._coming: deque[Triple] = deque()
        self._views: list[list[Tensor]] = []
        self._pooled: Tensor | None = None

    def expect(self, starts: Sequence[Triple]) -> None:
        """The windows of the next calls, in their order."""
        self._coming = deque(starts)

    def heard(self, bottleneck: Tensor) -> None:
        """The deepest map of the windows; of mirrored views that of the first, which is not mirrored."""
        if self._pooled is None:
            self._pooled = pooled(bottleneck)

    def view(self, scores: Tensor) -> None:
        """One of several views of the windows, turned back; of each only the labels are kept."""
        if self._recorder.compares_views:
            self._views.append([self._labels(each) for each in scores])

    def around(self, network: Network) -> Network:
        """The same network, whose windows are recorded."""

        def call(windows: Tensor) -> Tensor:
            result = network(windows)
            starts = [self._coming.popleft() for _ in range(len(windows))]
            if len(self._views) > 1:
                self._recorder.views(starts, self._views)
            self._recorder.windows(self._index, starts, self._pooled)
            self._views, self._pooled = [], None
            return result

        return call

    def _labels(self, view: Tensor) -> Tensor:
        """Labels of a window's scores or features, a plane at a time where scores are still to be made."""
        if self._head is None:
            return self._recorder.labels_of(view)
        planes = [self._recorder.labels_of(self._head(plane)) for plane in view.unbind(dim=1)]
        return torch.stack(planes, dim=-3)


@contextmanager
def watching(members: Sequence[Member], recorder: Recorder | None) -> Iterator[list[Watch | None]]:
    """A watch for each model, or None for each; ends when the case ends."""
    if recorder is None:
        yield [None for _ in members]
        return
    watches = [Watch(member, index, recorder) for index, member in enumerate(members)]
    try:
        for member, watch in zip(members, watches, strict=True):
            member.backend.listen(watch.heard)
        yield [*watches]
    finally:
        for member in members:
            member.backend.listen(None)
