"""Exponential moving average of the weights, and the weights that are validated and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from swin_unetr.training.sharding import ShardedStrategy, divide, gathered, own_part, whole


class WeightAverage(WeightAveraging):  # type: ignore[misc]  # Lightning is untyped here
    """Lightning's weight averaging with a decay that grows from 0: the start of training is soon forgotten.

    The module has the averaged weights once training has ended. Checkpoints hold both, and the average is resumed
    with the rest.

    Args:
        decay: share of the average that a step keeps, once about `10 * decay / (1 - decay)` steps were taken; or what
            gives it at the step under way.
    """

    def __init__(self, decay: float | Callable[[], float]) -> None:
        # Lightning would also average buffers, and integer indices do not survive that.
        super().__init__(use_buffers=False, multi_avg_fn=self._move)
        self._decay = decay
        self._share = 1.0

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every optimiser step; never at the end of an epoch."""
        if step_idx is None:
            return False
        decay = self._decay() if callable(self._decay) else self._decay
        self._share = 1.0 - min(decay, (1 + step_idx) / (10 + step_idx))
        return True

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Divide the average as the weights are divided; it was copied from them before."""
        if isinstance(trainer.strategy, ShardedStrategy):
            divide(self.average)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing: `ValidatedWeights` does what Lightning's class would do here."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing, likewise."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average in, whole. All processes take part."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint["state_dict"] = whole(checkpoint["state_dict"], to_cpu=isinstance(trainer.strategy, ShardedStrategy))

    @property
    def average(self) -> LightningModule:
        """The module with the averaged weights; it exists only during training."""
        assert self._average_model is not None
        return self._average_model.module

    def scores(self, image: Tensor) -> Tensor:
        """What the module with the averaged weights gives for a batch, without dropout and gradients."""
        average = self.average.eval()
        with gathered(average), torch.no_grad():
            found: Tensor = average(image)
        return found

    @contextmanager
    def applied(self, module: LightningModule) -> Iterator[None]:
        """Within the block, the module holds the averaged weights."""
        self._swap_models(module)
        try:
            yield
        finally:
            self._swap_models(module)

    def _move(self, average: Sequence[Tensor], current: Sequence[Tensor], steps: Tensor | int) -> None:
        torch._foreach_lerp_(list(map(own_part, average)), list(map(own_part, current)), self._share)


def average_of(trainer: Trainer) -> WeightAverage | None:
    """The average of the weights of a training; None if it keeps none."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, WeightAverage)), None)


class ValidatedWeights(Callback):  # type: ignore[misc]  # Lightning is untyped here
    """Validates the weights that are saved afterwards (`weights_to_keep`)."""

    def __init__(self) -> None:
        self._during = ExitStack()

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put these weights in."""
        self._during.enter_context(weights_to_keep(trainer, pl_module))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put those in training back."""
        self._during.close()


@contextmanager
def weights_to_keep(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Within the block `module.network` has the weights to validate and to save, whole in every process.

    They are the averaged ones, if the trainer averages weights. All processes take part.
    """
    average = average_of(trainer)
    if isinstance(trainer.strategy, ShardedStrategy):
        with trainer.strategy.whole_network(module, module if average is None else average.average):
            yield
    elif average is not None:
        with average.applied(module):
            yield
    else:
        yield
