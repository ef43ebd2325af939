"""The order in which scans are visited: always the same for the same seed, epoch and number of processes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count, cycle, islice
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer
from torch.utils.data import Sampler

from swin_unetr.training.budget import budget_of
from swin_unetr.training.step_hooks import derived_seed


class Visit(NamedTuple):
    """One visit of a scan: all that its crops depend on, so that no process that loads data need know the epoch."""

    #: The epoch, from 0.
    epoch: int
    #: Number of the visit in the epoch, over all processes, from 0.
    place: int
    #: Index of the scan.
    scan: int


class VisitSampler(Sampler[Visit]):
    """The visits of an epoch that fall to one process.

    An epoch goes through all scans in a new order, as many times as it visits each. The orders depend on seed and epoch
    alone. Steps are those of the whole training: `batch` scans on each of two processes are the scans that one process
    visits in a step of twice as many. Every process makes equally many steps.

    Args:
        scans: how many there are.
        visits: of each scan in an epoch.
        batch: scans of a step on one process.
        drop_last: what to do with visits at the end of an epoch that do not fill a step. If True, they are left
            out, unless they are the whole epoch: then the processes share them. If False, the first visits of the
            epoch are made again until the step is full, so that few scans make an epoch.
        seed: of the orders.
        rank: this process, of `world_size`.
        world_size: processes that train together.
    """

    def __init__(
        self,
        scans: int,
        *,
        visits: int = 1,
        batch: int = 1,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._scans, self._visits, self._batch, self._seed = scans, visits, batch, seed
        self._rank, self._world_size = rank, world_size
        total, step = scans * visits, world_size * batch
        if drop_last:
            self._length = total // step * batch or math.ceil(total / world_size)
        else:
            self._length = math.ceil(total / step) * batch
        self._epoch = 0
        self._skip = 0

    @property
    def steps(self) -> int:
        """Batches of an epoch on one process."""
        return math.ceil(self._length / self._batch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration visits; Lightning calls this."""
        self._epoch = epoch

    def skip(self, visits: int) -> None:
        """Leave out the first visits of the next iteration, which a stopped run has made already."""
        self._skip = visits

    def in_training(self, trainer: Trainer) -> Sampler[Visit]:
        """The visits that come next in a training: of its epoch, or without an end if it has a budget."""
        if budget_of(trainer) is not None:
            return EndlessVisits(self, trainer)
        self.go_on(trainer)
        return self

    def go_on(self, trainer: Trainer) -> None:
        """Choose the epoch in which a training is; in one that was stopped, leave out the batches that it has had."""
        progress = trainer.fit_loop.epoch_progress.current
        self.set_epoch(progress.processed)
        if progress.started > progress.processed:  # stopped within an epoch
            self.skip(trainer.fit_loop.epoch_loop.batch_progress.current.processed * self._batch)

    def batch_at(self, epoch: int, step: int) -> list[Visit]:
        """The visits of one batch; epoch and step from 0."""
        return list(islice(self._visits_of(epoch), step * self._batch, (step + 1) * self._batch))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Visit]:
        skip, self._skip = self._skip, 0
        yield from islice(self._visits_of(self._epoch), skip, None)

    def whole_steps(self, epoch: int, first: int) -> Iterator[Visit]:
        """The visits of an epoch from a step on; if they do not fill a step, the first ones are made again."""
        yield from islice(self._visits_of(epoch, self.steps * self._batch), first * self._batch, None)

    def _visits_of(self, epoch: int, length: int | None = None) -> Iterator[Visit]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch))
        orders = [torch.randperm(self._scans, generator=generator) for _ in range(self._visits)]
        order = islice(cycle(torch.cat(orders).tolist()), (length or self._length) * self._world_size)
        for place, scan in islice(enumerate(order), self._rank, None, self._world_size):
            yield Visit(epoch, place, scan)


class EndlessVisits(Sampler[Visit]):
    """The visits of one pass over the scans after another, from where a training with a budget is.

    It has no length, by which Lightning knows that the loader does not say when an epoch ends.

    Args:
        passes: the visits of each pass.
        trainer: of the training.
    """

    def __init__(self, passes: VisitSampler, trainer: Trainer) -> None:
        self._passes, self._trainer = passes, trainer

    def __iter__(self) -> Iterator[Visit]:
        done = self._trainer.fit_loop.epoch_loop.batch_progress.total.processed
        epoch, step = divmod(done, self._passes.steps)
        yield from self._passes.whole_steps(epoch, step)
        for later in count(epoch + 1):
            yield from self._passes.whole_steps(later, 0)
