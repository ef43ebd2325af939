"""What all proxy tasks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pretrain.proxies.config import Reading
from pretrain.views import Views
from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinEncoder


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The loss and figures of a task in a step."""

    #: Unweighted, with its gradient.
    loss: Tensor
    #: By name, 0-d tensors that are logged besides the loss.
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    #: Input, what the encoder saw of it, and output of the first view, each 1 x C x X x Y x Z. None without pictures.
    picture: tuple[Tensor, Tensor, Tensor] | None = None


class Proxy(nn.Module):
    """A task: it changes the views, maps features of the network to its output, and judges this output.

    Args:
        config: the task's own dataclass of `pretrain.proxies.config`.
        network: shape of the encoder.
    """

    #: Names of its `Judged.figures`.
    figures: tuple[str, ...] = ()
    #: Whether its head reads the decoder's features at full resolution rather than the bottleneck.
    decodes = False

    def __init__(self, config: Any, network: NetworkConfig) -> None:
        super().__init__()

    def view(self, views: Views, generator: torch.Generator) -> Views:
        """Change the views, and keep in `Views.notes` what the loss needs. By default, nothing changes."""
        return views

    def around(self, encoder: SwinEncoder, views: Views) -> AbstractContextManager[None]:
        """A context for the encoder's pass, such as a hook on one of its parts. By default, it does nothing."""
        return nullcontext()

    def to_decoder(self, maps: list[Tensor], views: Views) -> tuple[list[Tensor], Tensor]:
        """If it decodes: the encoder's maps and the image, as the decoder gets them. By default, as they are."""
        return list(maps), views.seen

    def forward(self, features: Tensor) -> Tensor:
        """The output of the head, from N x width x x x y x z; if it decodes, from N x feature_size x X x Y x Z."""
        raise NotImplementedError

    def judge(self, output: Tensor, views: Views) -> Judged:
        """The loss of the output."""
        raise NotImplementedError

    def begin(self, encoder: SwinEncoder) -> None:
        """Called before the first step, once the encoder has its weights. By default, it does nothing."""

    def after_step(self, encoder: SwinEncoder, share: float) -> None:
        """Called after each step of the optimiser. By default, it does nothing.

        Args:
            encoder: as the step has left it.
            share: of the training, spent before the step.
        """


def read(deepest: Tensor, reading: Reading, token: int) -> Tensor:
    """N x width from N x width x x x y x z: the mean over all places, or one token."""
    tokens = deepest.flatten(2)
    return tokens.mean(2) if reading == "pooled" else tokens[:, :, token]
