"""How fast a fine-tuning computes, and what it keeps: `FinetuneSpeed` for this machine, network and crop."""

from __future__ import annotations

from dataclasses import replace

import torch

from finetune.config import FinetuneConfig, FinetuneSpeed
from finetune.planning.memory import training_footprint
from swin_unetr.machine import parse_size
from swin_unetr.networks import build_network, recomputable
from swin_unetr.planning.this_machine import this_machine
from swin_unetr.tasks import Task
from swin_unetr.training.speed import hardware, least_recomputation, settle


def settled_speed(config: FinetuneConfig, task: Task) -> FinetuneSpeed:
    """The speed of a configuration with every "auto" resolved that the machine and the memory decide.

    Raises:
        ConfigError: something is asked for that this machine cannot do, or the memory is too little.
    """
    at_hand = hardware(config.trainer.accelerator)
    speed = settle(config.speed, at_hand, precision=config.trainer.precision)
    if speed.memory is None:
        return speed
    limit = parse_size(speed.memory, "speed.memory")
    machine = this_machine(gpu_memory=limit) if at_hand.device == "cuda" else this_machine(memory=limit)

    def needs(parts: tuple[str, ...]) -> int:
        tried = replace(config, speed=replace(speed, memory=None, recompute=parts))
        return machine.needs(training_footprint(tried, task, device=machine.device))

    with torch.device("meta"):
        parts = [name for name, _ in recomputable(build_network(config.network))]
    return replace(speed, memory=None, recompute=least_recomputation(limit, parts, needs))
