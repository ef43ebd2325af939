"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WeightAverage(WeightAveraging):  # type: ignore[misc]  # Lightning is untyped here
    """Lightning's weight averaging with a decay that grows from 0: the start of training is soon forgotten.

    Validation uses the averaged weights; so does the module once training has ended. Checkpoints hold both, and the
    average is resumed with the rest.

    Args:
        decay: share of the average that a step keeps, once about `10 * decay / (1 - decay)` steps were taken.
    """

    def __init__(self, decay: float) -> None:
        # Lightning would also average buffers, and integer indices do not survive that.
        super().__init__(use_buffers=False, multi_avg_fn=self._move)
        self._decay = decay
        self._share = 1.0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every optimiser step; never at the end of an epoch."""
        if step_idx is None:
            return False
        self._share = 1.0 - min(self._decay, (1 + step_idx) / (10 + step_idx))
        return True

    def _move(self, average: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int) -> None:
        torch._foreach_lerp_(list(average), list(current), self._share)

    @contextmanager
    def applied(self, module: LightningModule) -> Iterator[None]:
        """Within the block, the module holds the averaged weights."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)


@contextmanager
def averaged_weights(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Within the block, the module holds the averaged weights, where the trainer averages any."""
    average = next((callback for callback in trainer.callbacks if isinstance(callback, WeightAverage)), None)
    if average is None:
        yield
    else:
        with average.applied(module):
            yield
