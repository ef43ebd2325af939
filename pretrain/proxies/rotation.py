"""Rotation: by how many quarters was the view turned? Tang et al. (2111.14791), section 3.2."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.proxies.config import RotationConfig
from pretrain.proxies.proxy import Judged, Proxy, read
from pretrain.views import Views, turned, uniform
from swin_unetr.config import NetworkConfig


class Rotation(Proxy):
    """Turns views by 0, 90, 180 or 270 degrees and predicts by how many.

    Args:
        config: the plane, and what the head reads.
        network: shape of the encoder.
    """

    figures = ("accuracy",)

    def __init__(self, config: RotationConfig, network: NetworkConfig) -> None:
        super().__init__(config, network)
        self._config = config
        self._axes = (2 + "XYZ".index(config.plane[0]), 2 + "XYZ".index(config.plane[1]))
        self.head = nn.Linear(network.deepest_width, 4)

    def view(self, views: Views, generator: torch.Generator) -> Views:
        """Turn each view by its own number of quarters; only by halves if it is not square in the plane."""
        first, second = (views.whole.shape[axis] for axis in self._axes)
        draw = uniform((len(views.whole),), generator)
        turns = (draw * 4).long() if first == second else 2 * (draw * 2).long()
        return turned(views, turns, self._axes)

    def forward(self, deepest: Tensor) -> Tensor:
        """N x 4 scores."""
        scores: Tensor = self.head(read(deepest, self._config.reads, 0))
        return scores

    def judge(self, output: Tensor, views: Views) -> Judged:
        """Cross-entropy, and the share of turns that were predicted correctly."""
        turns = views.notes["turns"]
        loss = F.cross_entropy(output.float(), turns)
        return Judged(loss=loss, figures={"accuracy": (output.argmax(1) == turns).float().mean()})
