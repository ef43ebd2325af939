"""Self-distillation: what does a teacher make of the whole view? After SMIT (2205.10342) and iBOT (2111.07832)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretrain.losses import distilled
from pretrain.proxies.config import DistillationConfig
from pretrain.proxies.proxy import Judged, Proxy
from pretrain.proxies.slow_encoder import SlowEncoder, momentum_at, with_mean
from pretrain.views import Views
from swin_unetr.config import NetworkConfig
from swin_unetr.networks import SwinEncoder
from swin_unetr.training.across_processes import processes, summed, weighted_mean


class Prototypes(nn.Module):
    """Cosines of vectors with learnt prototypes, after a layer that embeds them.

    Args:
        width: channels of a token.
        config: sizes of the layers.
    """

    def __init__(self, width: int, config: DistillationConfig) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(width, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.embedding)
        )
        self.prototypes = nn.Parameter(torch.empty(config.prototypes, config.embedding).normal_(std=0.02))

    def forward(self, tokens: Tensor) -> Tensor:
        """... x prototypes from ... x width."""
        vectors = F.normalize(self.embed(tokens).float(), dim=-1)
        return F.linear(vectors, F.normalize(self.prototypes.float(), dim=-1))


class Distillation(Proxy):
    """Predicts, from the masked view, the teacher's scores of the whole view, for masked tokens and for their mean.

    The teacher is an average of past encoders and heads. Its scores are centred and sharpened, so that they do not
    collapse onto one prototype nor onto all alike. A token of the bottleneck counts by the share of it that is masked.

    Args:
        config: head, temperatures, momentum.
        network: shape of the encoder.
    """

    #: Entropy of the teacher's targets of whole views, as a share of the largest: 0 if each has one prototype alone.
    figures = ("entropy",)
    #: Means of the teacher's scores: of whole views, and of tokens; 2 x prototypes.
    centre: Tensor

    def __init__(self, config: DistillationConfig, network: NetworkConfig) -> None:
        super().__init__(config, network)
        self._config = config
        self._cell = [voxels // patch for voxels, patch in zip(network.size_divisor, network.patch_size, strict=True)]
        self.head = Prototypes(network.deepest_width, config)
        self.teacher = SlowEncoder(network, Prototypes(network.deepest_width, config))
        self.register_buffer("centre", torch.zeros(2, config.prototypes))

    def forward(self, features: Tensor) -> Tensor:
        """N x (1 + tokens) x prototypes: of the mean over all tokens, then of each of them."""
        scores: Tensor = self.head(with_mean(features))
        return scores

    def judge(self, output: Tensor, views: Views) -> Judged:
        """Cross-entropy with the teacher's targets. Moves the centre, as a norm moves its statistics."""
        config = self._config
        scores = self.teacher(views.whole)
        # Half precision is too coarse for the teacher's sharp targets.
        with torch.autocast(output.device.type, enabled=False):
            targets = self.targets(scores.float())
            pooled = targets[:, 0].roll(len(output) // 2, 0) if views.count == 2 else targets[:, 0]
            of_views = distilled(output[:, 0], pooled, config.student_temperature).mean()
            masked = F.avg_pool3d(views.notes["masked"].float(), self._cell).flatten(1)
            of_tokens = distilled(output[:, 1:], targets[:, 1:], config.student_temperature)
            # Crops that are no multiple of a cube have more or fewer masked tokens in each process.
            of_tokens = weighted_mean((masked * of_tokens).sum(), masked.sum())
            entropy = torch.special.entr(pooled).sum(1).mean() / math.log(config.prototypes)
        self._move_centre(scores.float())
        loss = config.pooled * of_views + config.tokens * of_tokens
        return Judged(loss=loss, figures={"entropy": entropy})

    def targets(self, scores: Tensor) -> Tensor:
        """The teacher's scores, N x (1 + tokens) x prototypes, centred and sharpened into distributions."""
        centre = torch.cat([self.centre[:1], self.centre[1:].expand(scores.shape[1] - 1, -1)])
        return ((scores - centre) / self._config.teacher_temperature).softmax(-1)

    def begin(self, encoder: SwinEncoder) -> None:
        """The teacher begins as the student."""
        self.teacher.follow(encoder, self.head, 0.0)

    def after_step(self, encoder: SwinEncoder, share: float) -> None:
        """The teacher follows the student."""
        self.teacher.follow(encoder, self.head, momentum_at(share, self._config.momentum))

    @torch.no_grad()
    def _move_centre(self, scores: Tensor) -> None:
        """Towards the means over the batches of all processes."""
        means = summed(torch.stack([scores[:, 0].mean(0), scores[:, 1:].mean((0, 1))])) / processes()
        self.centre.lerp_(means, 1 - self._config.centre_momentum)
