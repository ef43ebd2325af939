"""What all proxy tasks have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pretrain.config import Reading
from pretrain.views import Views


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of a task in a step."""

    #: Unweighted, with its gradient.
    loss: Tensor
    #: By name, 0-d tensors for people, beside the loss.
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    #: Input, what the encoder saw of it, and output of the first view, each 1 x C x X x Y x Z; none without pictures.
    picture: tuple[Tensor, Tensor, Tensor] | None = None


class Proxy(nn.Module):
    """A task: it changes the views, maps the deepest features to its output, and judges that."""

    #: Names of its `Judged.figures`.
    figures: tuple[str, ...] = ()

    def view(self, views: Views, generator: torch.Generator) -> Views:
        """Change the views; a task that needs none leaves them."""
        return views

    def forward(self, deepest: Tensor) -> Tensor:
        """The output of the head, from N x width x x x y x z."""
        raise NotImplementedError

    def judge(self, output: Tensor, views: Views) -> Judged:
        """The loss of the output."""
        raise NotImplementedError


def read(deepest: Tensor, reading: Reading, token: int) -> Tensor:
    """N x width of N x width x x x y x z: the mean over all places, or one token."""
    tokens = deepest.flatten(2)
    return tokens.mean(2) if reading == "pooled" else tokens[:, :, token]
