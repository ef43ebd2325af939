"""Contrastive coding: which views are of the same crop? Tang et al. (2111.14791), section 3.2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.losses import barlow_twins, nt_xent, pair_similarities, top1
from pretrain.proxies.config import ContrastiveConfig
from pretrain.proxies.proxy import Judged, Proxy, read
from pretrain.views import Views
from swin_unetr.config import NetworkConfig


class Contrastive(Proxy):
    """Embeds both views of every crop so that they are alike.

    Args:
        config: the loss, and the head.
        network: shape of the encoder.
    """

    figures = ("top1",)

    def __init__(self, config: ContrastiveConfig, network: NetworkConfig) -> None:
        super().__init__(config, network)
        self._config, width = config, network.deepest_width
        self.head: nn.Module = nn.Linear(width, config.embedding)
        if config.head == "mlp":
            self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.embedding))

    def forward(self, deepest: Tensor) -> Tensor:
        """N x embedding."""
        vectors: Tensor = self.head(read(deepest, self._config.reads, 1))
        return vectors

    def judge(self, output: Tensor, views: Views) -> Judged:
        """NT-Xent or Barlow Twins, and the share of views that find the other view of their crop."""
        config = self._config
        # Half precision is too coarse for cosines and correlations.
        with torch.autocast(output.device.type, enabled=False):
            similarities, partners = pair_similarities(
                output, views.scan, same_scan_negatives=config.same_scan_negatives, gather=config.gather
            )
            if config.loss == "nt_xent":
                loss = nt_xent(similarities, partners, config.temperature)
            else:
                loss = barlow_twins(output, config.redundancy, gather=config.gather)
        return Judged(loss=loss, figures={"top1": top1(similarities.detach(), partners)})
