"""Seconds of a training step on this machine, by taking a few."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from finetune.config import FinetuneConfig
from finetune.planning.step import LoneModule, batch_shapes
from swin_unetr.networks import build_network, choose_fast_paths
from swin_unetr.tasks import Task
from swin_unetr.training.decay import parameter_groups
from swin_unetr.training.optimizer import build_optimizer
from swin_unetr.training.speed import hardware, settle

#: A first step takes longer than later ones; if it takes more seconds than this, no second one is timed.
LONG_STEP = 20.0
#: Steps that are timed; the fastest counts, the first one left out.
_STEPS = 4


def seconds_of_step(config: FinetuneConfig, task: Task, device: torch.device) -> float:
    """Seconds of a training step of a configuration, on random data.

    Args:
        config: network, crop, batch, loss, precision.
        task: what is learnt.
        device: that trains.
    """
    network = replace(config.network, in_channels=len(task.channels), num_classes=task.num_classes)
    here = hardware("cpu" if device.type == "cpu" else "auto")
    config = replace(config, network=network, speed=settle(config.speed, here, precision=config.trainer.precision))
    first, *others = timed_steps(_random_batch(config, task), config, task, device, _STEPS)
    return min(others, default=first)


def timed_steps(
    batch: dict[str, Tensor], config: FinetuneConfig, task: Task, device: torch.device, steps: int = 2
) -> Iterator[float]:
    """Seconds of a first step, and of those that follow unless the first one takes very long.

    Args:
        batch: "image" and "label", B x C x X x Y x Z.
        config: with a settled speed.
        task: what is learnt.
        device: that trains.
        steps: at most.

    Raises:
        RuntimeError: the loss is no number, or the device cannot compute it.
    """
    counted = (1.0,) * task.num_classes if config.loss.class_weights == "frequencies" else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.trainer.seed)
        module = LoneModule(build_network(config.network), task, config, counted).to(device)
        choose_fast_paths(module.network, config.speed)
    fused = config.speed.fused_optimizer is True
    optimizer, _ = build_optimizer(
        parameter_groups(module, config.optimizer), config.optimizer, steps_per_epoch=1, total_steps=10**6, fused=fused
    )
    low = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(config.trainer.precision)
    for _ in range(steps):
        started = time.monotonic()
        optimizer.zero_grad()
        with torch.autocast(device.type, low or torch.bfloat16, enabled=low is not None):
            loss = module.training_step({name: values.to(device) for name, values in batch.items()}, 0)
        loss.backward()
        optimizer.step()
        if not torch.isfinite(loss):  # waits for a GPU, too
            raise RuntimeError(f"the loss of the first step is {float(loss)}")
        yield (seconds := time.monotonic() - started)
        if seconds > LONG_STEP:
            return


def _random_batch(config: FinetuneConfig, task: Task) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = 2 if task.activation == "sigmoid" else task.num_classes
    return {
        name: (
            torch.randint(values, shape, generator=generator).to(kind)
            if name == "label"
            else torch.randn(shape, generator=generator)
        )
        for name, (shape, kind) in batch_shapes(config, task).items()
    }
