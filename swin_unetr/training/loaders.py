"""The `DataLoader` of every training here: its processes outlast a signal to the whole process group."""

from __future__ import annotations

from typing import Any, TypeVar

from torch.utils.data import DataLoader

from swin_unetr.signals import held_back, leave_to_parent

T = TypeVar("T")


class Loader(DataLoader[T]):
    """A `DataLoader` whose processes leave signals to the training, which still needs them to save in order.

    Args:
        dataset: as of a `DataLoader`, and so are all other arguments.
        num_workers: processes that read; they are kept from epoch to epoch.
        options: everything else.
    """

    def __init__(self, dataset: Any, *, num_workers: int = 0, **options: Any) -> None:
        super().__init__(
            dataset,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=leave_to_parent,
            **options,
        )

    def _get_iterator(self) -> Any:  # the one place where torch starts the processes
        with held_back():
            return super()._get_iterator()
