"""A second encoder that slowly follows the one in training: the teacher, or the encoder of the keys."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinEncoder
from swin_unetr.training.sharding import own_part


def momentum_at(share: float, first: float) -> float:
    """How much of the slow encoder a step keeps: from the first value to 1 by a cosine (2006.07733, section 3.2).

    Args:
        share: of the training that is spent.
        first: the value at the start.
    """
    return 1 - (1 - first) * (math.cos(math.pi * min(share, 1.0)) + 1) / 2


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """Move the parameters towards those of another module of the same shape, in place; 0 copies them."""
    ours, theirs = ([own_part(parameter) for parameter in each.parameters()] for each in (slow, fast))
    torch._foreach_lerp_(ours, theirs, 1 - momentum)


class SlowEncoder(nn.Module):
    """An encoder and a head without gradients, dropout or stochastic depth.

    Args:
        network: shape of the encoder.
        head: what maps vectors of its width; a module of its own.
    """

    def __init__(self, network: NetworkConfig, head: nn.Module) -> None:
        super().__init__()
        self.encoder = SwinEncoder(replace(network, drop_rate=0.0, attn_drop_rate=0.0, drop_path_rate=0.0))
        self.head = head
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """N x (1 + tokens) x D from N x C x X x Y x Z: the mean over all tokens first, then each of them."""
        outputs: Tensor = self.head(with_mean(self.encoder(image)[-1]))
        return outputs

    @torch.no_grad()
    def pooled(self, image: Tensor) -> Tensor:
        """N x D: of the mean over all tokens alone."""
        outputs: Tensor = self.head(self.encoder(image)[-1].flatten(2).mean(2))
        return outputs

    def follow(self, encoder: SwinEncoder, head: nn.Module, momentum: float) -> None:
        """Move towards an encoder and its head; a momentum of 0 copies them."""
        follow(self.encoder, encoder, momentum)
        follow(self.head, head, momentum)


def with_mean(deepest: Tensor) -> Tensor:
    """N x (1 + tokens) x width from N x width x x x y x z: the mean over all tokens first, then each of them."""
    tokens = deepest.flatten(2).transpose(1, 2)
    return torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
