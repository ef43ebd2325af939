"""Contrast with a queue: which key is of the same crop, among those of many steps? After MoBY (2105.04553)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.losses import gathered, queue_similarities, top1
from pretrain.proxies.config import MobyConfig
from pretrain.proxies.proxy import Judged, Proxy, read
from pretrain.proxies.slow_encoder import SlowEncoder, momentum_at
from pretrain.views import Views
from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinEncoder
from swin_unetr.training.across_processes import processes

#: The scan of a place in the queue that no key has taken yet.
_EMPTY = -1


class Moby(Proxy):
    """Finds the key of a crop's other view among the keys of past steps.

    Queries come from the encoder, a projector and a predictor; keys from the slow encoder and its projector, of the
    views before anything was cut out of them or masked. Unlike in the paper, one queue holds the keys of both views,
    and heads have layer norms: a batch of volumes is too small for batch norms.

    Args:
        config: heads, temperature, queue, momentum.
        network: shape of the encoder.
    """

    figures = ("top1",)
    #: Keys of past steps, the newest first, queue x embedding; and the scan of each.
    queue: Tensor
    queue_scans: Tensor

    def __init__(self, config: MobyConfig, network: NetworkConfig) -> None:
        super().__init__(config, network)
        self._config, width = config, network.deepest_width
        self.projector = _head(width, config)
        self.predictor = _head(config.embedding, config)
        self.slow = SlowEncoder(network, _head(width, config))
        self.register_buffer("queue", torch.zeros(config.queue, config.embedding))
        self.register_buffer("queue_scans", torch.full((config.queue,), _EMPTY))

    def forward(self, features: Tensor) -> Tensor:
        """N x embedding."""
        queries: Tensor = self.predictor(self.projector(read(features, "pooled", 0)))
        return queries

    def judge(self, output: Tensor, views: Views) -> Judged:
        """InfoNCE, and the share of views that find the other view of their crop. Puts the keys into the queue."""
        keys = self.slow.pooled(views.whole)
        # Half precision is too coarse for cosines.
        with torch.autocast(output.device.type, enabled=False):
            keys = F.normalize(keys.float(), dim=1)
            left_out = (self.queue_scans == _EMPTY).expand(len(output), -1)
            if not self._config.same_scan_negatives:
                left_out = left_out | (views.scan[:, None] == self.queue_scans)
            similarities = queue_similarities(output, keys.roll(len(keys) // 2, 0), self.queue, left_out)
            own = torch.zeros(len(output), dtype=torch.long, device=output.device)
            loss = F.cross_entropy(similarities / self._config.temperature, own)
        self._enqueue(keys, views.scan)
        return Judged(loss=loss, figures={"top1": top1(similarities.detach(), own)})

    def begin(self, encoder: SwinEncoder) -> None:
        """The slow encoder begins as the other."""
        self.slow.follow(encoder, self.projector, 0.0)

    def after_step(self, encoder: SwinEncoder, share: float) -> None:
        """The slow encoder follows the other."""
        self.slow.follow(encoder, self.projector, momentum_at(share, self._config.momentum))

    @torch.no_grad()
    def _enqueue(self, keys: Tensor, scans: Tensor) -> None:
        """Add the keys of all processes; the oldest are removed. Tensors of their own: the loss still needs the old."""
        if processes() > 1:
            keys, scans = gathered(keys), gathered(scans)
        self.queue = torch.cat([keys, self.queue])[: self._config.queue]
        self.queue_scans = torch.cat([scans, self.queue_scans])[: self._config.queue]


def _head(width: int, config: MobyConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, config.hidden),
        nn.LayerNorm(config.hidden),
        nn.ReLU(),
        nn.Linear(config.hidden, config.embedding),
    )
