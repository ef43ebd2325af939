"""Mirror images along X: the structures of paired sides are exchanged, in encoded targets and in scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from swin_unetr.config import AugmentConfig
from swin_unetr.sides import MirrorImage, mirror_image
from swin_unetr.tasks import Task
from transforms.labels import target_type


def mirror_image_of(task: Task) -> MirrorImage:
    """Which structures of a task are exchanged in a mirror image along X."""
    return mirror_image([target.name for target in task.targets], task.pairs)


def mirrored_as_possible(augment: AugmentConfig, task: Task) -> AugmentConfig:
    """The augmentation, without mirrors along X if sides are to be exchanged and a partner is unknown."""
    if not augment.exchange_sides or not mirror_image_of(task).unknown:
        return augment
    return replace(augment, flip_probability=(0.0, *augment.flip_probability[1:]))


def exchanged_pairs(augment: AugmentConfig, task: Task) -> tuple[tuple[str, str], ...]:
    """Names of the structures that are exchanged in crops that are mirrored along X; empty if none is mirrored."""
    if not augment.exchange_sides or not mirrored_as_possible(augment, task).flip_probability[0]:
        return ()
    return mirror_image_of(task).pairs([target.name for target in task.targets])


def score_order(task: Task, pairs: Sequence[tuple[str, str]]) -> tuple[int, ...]:
    """For each output channel of the network, the one whose scores it takes from a view that is mirrored along X.

    Args:
        task: what the channels mean.
        pairs: names of the structures that are exchanged.
    """
    first = task.num_classes - len(task.targets)  # the background, which stays
    names = [target.name for target in task.targets]
    order = list(range(task.num_classes))
    for one, other in pairs:
        here, there = first + names.index(one), first + names.index(other)
        order[here], order[there] = there, here
    return tuple(order)


class ExchangeSides:
    """Exchanges the labels of paired structures.

    Args:
        task: what encoded targets mean.
        pairs: names of the structures that are exchanged.
    """

    def __init__(self, task: Task, pairs: Sequence[tuple[str, str]]) -> None:
        self._order = list(order := score_order(task, pairs))
        self._of_regions = task.activation == "sigmoid"
        # Every value of the type: the ignored one stays.
        self._table = torch.arange(torch.iinfo(target_type(task)).max + 1, dtype=target_type(task))
        self._table[: len(order)] = torch.tensor(order, dtype=self._table.dtype)

    def __call__(self, label: Tensor) -> Tensor:
        """Encoded targets (`transforms.labels.encode_targets`), C x X x Y x Z, with the labels of both sides exchanged.

        Ignored voxels stay ignored.
        """
        if self._of_regions:
            return self.channels(label)
        return self._table.to(label.device)[label.long()].to(label.dtype)

    def channels(self, values: Tensor) -> Tensor:
        """Values of the output channels of the network, C x ..., with those of both sides exchanged."""
        return values[self._order]
