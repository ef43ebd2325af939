"""What a step of a pre-training takes: memory, traced without values, and seconds, measured."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from pretrain.config import PretrainConfig
from pretrain.module import PretrainModule
from swin_unetr.planning.footprint import Footprint, step_footprint

#: Steps that are timed; the fastest counts, the first one left out.
_STEPS = 3
#: If the first step takes more seconds than this, no other one is timed.
_LONG_STEP = 20.0


def pretraining_footprint(config: PretrainConfig) -> Footprint:
    """Bytes that a training step allocates.

    Args:
        config: network, crop, batch, tasks, precision, with the number of channels.
    """
    scans = config.scans
    crops = scans.scans_per_batch * scans.crops_per_scan
    batch = {
        "image": ((crops, config.network.in_channels, *scans.crop_size), torch.float32),
        "scan": ((crops,), torch.int64),
    }
    low = config.trainer.precision == "bf16-mixed"
    return step_footprint(lambda: PretrainModule(config), _loss, batch, bfloat16=low, averaged=False)


def seconds_of_step(config: PretrainConfig, device: torch.device) -> float:
    """Seconds of a training step on random data.

    Args:
        config: as of `pretraining_footprint`.
        device: that trains.
    """
    scans, generator = config.scans, torch.Generator().manual_seed(0)
    crops = scans.scans_per_batch * scans.crops_per_scan
    image = torch.randn((crops, config.network.in_channels, *scans.crop_size), generator=generator).to(device)
    batch = {"image": image, "scan": torch.arange(crops, device=device)}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        module = PretrainModule(config).to(device)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4)
    low = config.trainer.precision == "bf16-mixed"
    taken: list[float] = []
    while len(taken) < _STEPS and not (taken and taken[0] > _LONG_STEP):
        started = time.monotonic()
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            loss: Any = _loss(module, batch)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        taken.append(time.monotonic() - started)
    return min(taken[1:], default=taken[0])


def _loss(module: PretrainModule, batch: dict[str, Tensor]) -> Tensor:
    loss: Tensor = module.training_step(batch, 0)["loss"]
    return loss
