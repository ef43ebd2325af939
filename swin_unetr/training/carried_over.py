"""The weights that were carried over from a pre-trained model: at which rates they learn, and when they are frozen."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from swin_unetr.config import OptimizerConfig
from swin_unetr.training.decay import parameter_groups
from swin_unetr.training.optimizer import Rate
from swin_unetr.training.schedule import rise_and_fall
from swin_unetr.transfer_config import TransferConfig

#: Key of an optimiser's group: what it holds. Groups of carried-over weights have one that begins with `CARRIED`.
NAME = "name"
FRESH, CARRIED = "fresh", "carried"
_BLOCK = re.compile(r"encoder\.stages\.(\d+)\.blocks\.(\d+)\.")
_STAGE = re.compile(r"encoder\.stages\.(\d+)\.(\w+)\.")


def groups_of(
    module: nn.Module,
    network: nn.Module,
    carried: Collection[str],
    config: TransferConfig,
    optimizer: OptimizerConfig,
) -> list[dict[str, Any]]:
    """The groups of `decay.parameter_groups`, divided by where weights come from, each with its full learning rate.

    Args:
        module: what is trained.
        network: the part of it of which some weights were carried over; all others are fresh.
        carried: names of these in the network; names of buffers may be among them.
        config: the factors of the rate.
        optimizer: rate of fresh weights, and which are decayed.

    Returns:
        Groups with a name; those of fresh weights come first.
    """
    named: dict[int, tuple[float, str]] = {}
    depths: Sequence[int] = network.config.depths if config.layer_decay != 1 else ()  # type: ignore[union-attr, assignment]
    for name, parameter in network.named_parameters():
        if name in carried:
            steps = steps_from_the_end(name, depths)
            label = f"{CARRIED}_{steps}" if steps else CARRIED
            named[id(parameter)] = (config.rate * config.layer_decay**steps, label)
    groups = parameter_groups(module, optimizer)
    wholes: list[dict[str, Any]] = [group for group in groups if isinstance(group, dict)] or [{"params": groups}]
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for number, group in enumerate(wholes):
        for parameter in group["params"]:
            factor, label = named.get(id(parameter), (1.0, FRESH))
            values = {**group, "params": [], "lr": factor * optimizer.learning_rate, NAME: label}
            found.setdefault((number, label), values)["params"].append(parameter)
    return sorted(found.values(), key=lambda group: bool(group[NAME] != FRESH))


def steps_from_the_end(name: str, depths: Sequence[int]) -> int:
    """How many steps of depth a weight of the encoder lies before what follows the encoder.

    The last transformer block lies one step before, the first as many as there are blocks, the patch embedding one
    more. What precedes the blocks of a stage counts with its first one, patch merging with its last one, as in the
    fine-tuning of SimMIM (2111.09886, its published code).

    Args:
        name: in the network.
        depths: blocks of each stage. If empty, depth does not count.

    Returns:
        The steps; 0 if the weight is not part of the encoder, or depth does not count.
    """
    if not depths or not name.startswith("encoder."):
        return 0
    blocks = sum(depths)
    if match := _BLOCK.match(name):
        stage, block = map(int, match.groups())
        return blocks - sum(depths[:stage]) - block
    if match := _STAGE.match(name):
        stage = int(match[1])
        return blocks - sum(depths[: stage + 1]) + 1 if match[2] == "merging" else blocks - sum(depths[:stage])
    return blocks + 1


def rates_of(
    groups: Sequence[Mapping[str, Any]],
    config: TransferConfig,
    together: Rate,
    progress: Callable[[int], tuple[float, float]],
    warmup: float,
) -> list[Rate]:
    """For each group, its share of its full learning rate at an optimiser step.

    Args:
        groups: from `groups_of`.
        config: schedule, and for how many steps carried-over weights are frozen.
        together: that share in a training of fresh weights alone.
        progress: share of the training that is spent before a step, and by that step.
        warmup: share of the training in which the rate rises.
    """

    def fresh(step: int) -> float:
        if config.schedule == "together":
            return together(step)
        spent, one = progress(step)
        alone = config.fresh_share
        if spent < alone:
            return (spent + one) / (alone + one)
        return rise_and_fall(spent - alone, one, warmup, 1 - alone)

    def carried(step: int) -> float:
        is_alone = config.schedule == "sawtooth" and progress(step)[0] < config.fresh_share
        return 0.0 if step < config.freeze_steps or is_alone else fresh(step)

    return [fresh if group[NAME] == FRESH else carried for group in groups]


def freeze(optimizer: Optimizer) -> None:
    """Before a step: drop the gradients of carried-over weights whose rate is 0.

    The optimiser then passes them over: no decay, no moments, and no part in the norm to which gradients are clipped.
    """
    for group in optimizer.param_groups:
        if group.get(NAME, FRESH) != FRESH and group["lr"] == 0:
            for parameter in group["params"]:
                parameter.grad = None


def named_rates(optimizer: Optimizer) -> Iterator[tuple[str, float]]:
    """Name and learning rate of each kind of carried-over weights; nothing if the optimiser does not know them."""
    for group in optimizer.param_groups:
        if group.get(NAME, FRESH) != FRESH:
            yield group[NAME], group["lr"]
