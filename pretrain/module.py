"""The LightningModule of a pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from pretrain.config import PretrainConfig
from pretrain.proxies.build import build_proxies
from pretrain.proxies.proxy import Judged, Proxy
from pretrain.views import Views, start_views
from swin_unetr.networks import SwinBody, SwinEncoder
from swin_unetr.training.budget import configure_optimizers, share_spent
from swin_unetr.training.decay import parameter_groups
from swin_unetr.training.gradient_clip import clip_gradients
from swin_unetr.training.step_hooks import derived_seed

#: Gives the random numbers of the views their own stream in a step.
_VIEWS = 1


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The outputs of the network for some views."""

    #: N x width x x x y x z, the bottleneck.
    deepest: Tensor
    #: By task, the output of its head.
    heads: Mapping[str, Tensor]


class PretrainNetwork(nn.Module):
    """What is pre-trained, and a head for each task.

    Args:
        config: shape of the network, and the tasks.
    """

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        if config.proxies.whole_network:
            self.body = SwinBody(config.network)
        else:
            self.encoder = SwinEncoder(config.network)
        built = build_proxies(config.proxies, config.network)
        self.proxies = nn.ModuleDict({name: proxy for name, (proxy, _) in built.items()})
        self.weights = {name: weight for name, (_, weight) in built.items()}

    @property
    def tasks(self) -> dict[str, Proxy]:
        """The tasks by their names."""
        return dict(self.proxies.items())  # type: ignore[arg-type]  # a ModuleDict has no type for its values

    @property
    def kept(self) -> SwinBody | SwinEncoder:
        """What is kept of the training: the encoder, or the whole network without an output layer."""
        return self.body if "body" in self._modules else self.encoder

    def forward(self, views: Views) -> Outputs:
        """One pass of the encoder over all views together, of each head over its bottleneck, and of the decoder."""
        body = self.kept
        encoder = body.encoder if isinstance(body, SwinBody) else body
        with ExitStack() as stack:
            for task in self.tasks.values():
                stack.enter_context(task.around(encoder, views))
            maps = encoder(views.seen)
        heads = {}
        for name, task in self.tasks.items():
            if task.decodes and isinstance(body, SwinBody):
                heads[name] = task(body.decode(*task.to_decoder(maps, views)))
            else:
                heads[name] = task(maps[-1])
        return Outputs(deepest=maps[-1], heads=heads)


class PretrainModule(LightningModule):  # type: ignore[misc]  # Lightning is untyped here
    """Trains the encoder, or the whole network, on the tasks.

    Args:
        config: the whole configuration, with the `network.in_channels` of the scans and without "auto" in its speed.
    """

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.network = PretrainNetwork(config)
        self._config = config

    @property
    def kept(self) -> SwinBody | SwinEncoder:
        """What is kept of the training."""
        return self.network.kept

    @property
    def encoder(self) -> SwinEncoder:
        """The encoder that is pre-trained."""
        kept = self.kept
        return kept.encoder if isinstance(kept, SwinBody) else kept

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """Names of the figures that a step gives."""
        tasks = self.network.tasks.items()
        return tuple(f"{name}/{figure}" for name, task in tasks for figure in ("loss", *task.figures))

    def make_views(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Views:
        """The views of a batch.

        Args:
            batch: "image", B x C x X x Y x Z, and "scan", B.
            generator: on the device of the batch.
        """
        views = start_views(batch["image"], batch["scan"], self._config.views, self._config.jitter, generator)
        for task in self.network.tasks.values():
            views = task.view(views, generator)
        return views

    def losses(self, outputs: Outputs, views: Views) -> tuple[Tensor, dict[str, Judged]]:
        """The weighted sum of the tasks' losses, and the loss and figures of each task."""
        judged = {name: task.judge(outputs.heads[name], views) for name, task in self.network.tasks.items()}
        weights = self.network.weights
        return torch.stack([weights[name] * task.loss for name, task in judged.items()]).sum(), judged

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Any]:
        """The loss of a batch, and what `pretrain.health` shows of it."""
        seed = derived_seed(self._config.trainer.seed, self.current_epoch, batch_idx, self.global_rank, _VIEWS)
        with torch.no_grad():
            views = self.make_views(batch, torch.Generator(batch["image"].device).manual_seed(seed))
        outputs = self.network(views)
        total, judged = self.losses(outputs, views)
        scalars = {f"{name}/loss": task.loss.detach() for name, task in judged.items()}
        scalars |= {f"{name}/{key}": value for name, task in judged.items() for key, value in task.figures.items()}
        pictures = {
            name: tuple(part.detach() for part in task.picture)
            for name, task in judged.items()
            if task.picture is not None
        }
        features = outputs.deepest.detach().flatten(2).mean(2)
        return {"loss": total, "scalars": scalars, "features": features, "pictures": pictures}

    def on_train_start(self) -> None:
        """Let the tasks begin, unless the training goes on."""
        if self.global_step == 0:
            for task in self.network.tasks.values():
                task.begin(self.encoder)

    def optimizer_step(self, *given: Any, **named: Any) -> None:
        """Step, and tell the tasks; before any callback can write a checkpoint."""
        share = share_spent(self.trainer, self._config.trainer)
        super().optimizer_step(*given, **named)
        for task in self.network.tasks.values():
            task.after_step(self.encoder, share)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with warm-up and cosine, stepped by optimiser steps."""
        config, fused = self._config, self._config.speed.fused_optimizer is True
        groups = parameter_groups(self.network, config.optimizer)
        return configure_optimizers(self.trainer, groups, config.optimizer, config.trainer, fused)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm of the gradients."""
        if gradient_clip_val is not None:
            clip_gradients(self.network.parameters(), gradient_clip_val)
