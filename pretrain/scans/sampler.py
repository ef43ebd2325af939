"""Which scan is visited when: the same for the same seed, epoch and number of processes, whenever it is asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle, islice

import torch
from torch.utils.data import Sampler

from swin_unetr.training.step_hooks import derived_seed

#: Epoch, place of the visit in the epoch over all processes, scan.
Visit = tuple[int, int, int]


class VisitSampler(Sampler[Visit]):
    """The visits of an epoch that fall to one process.

    An epoch goes through all scans in a new order, as many times as it visits each, and then, where the last step would
    lack visits, through the first ones again. It yields all that the crops depend on, so that the processes that load
    data need not be told of the epoch, and no two visits of an epoch draw the same crops.

    Args:
        scans: how many there are.
        visits: of each in an epoch.
        batch: scans of a batch on one process.
        seed: of the orders.
        rank: this process, of `world_size`.
        world_size: processes that train together.
    """

    def __init__(
        self, scans: int, *, visits: int = 1, batch: int = 1, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        self._scans, self._visits, self._seed = scans, visits, seed
        self._rank, self._world_size = rank, world_size
        #: Whole batches on every process: the last is filled up rather than dropped, so that few scans make an epoch.
        self._length = math.ceil(scans * visits / (world_size * batch)) * batch
        self._epoch = 0
        self._skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration visits; Lightning calls this."""
        self._epoch = epoch

    def skip(self, visits: int) -> None:
        """Leave out the first visits of the next iteration, which a stopped run has made already."""
        self._skip = visits

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Visit]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, self._epoch))
        orders = [torch.randperm(self._scans, generator=generator) for _ in range(self._visits)]
        order = islice(cycle(torch.cat(orders).tolist()), self._length * self._world_size)
        skip, self._skip = self._skip, 0
        for place, scan in islice(enumerate(order), self._rank + skip * self._world_size, None, self._world_size):
            yield self._epoch, place, scan
