"""The tasks of a configuration."""

from __future__ import annotations

from pretrain.config import PretrainConfig
from pretrain.proxies.contrastive import Contrastive
from pretrain.proxies.inpainting import Inpainting
from pretrain.proxies.masked import Masked
from pretrain.proxies.proxy import Proxy
from pretrain.proxies.rotation import Rotation


def build_proxies(config: PretrainConfig) -> dict[str, tuple[Proxy, float]]:
    """Name, task and weight of all tasks that have one, in the order in which they change the views.

    A view is turned before anything is cut out of it, so that what is rebuilt has been turned too.
    """
    network, tasks = config.network, config.proxies
    width = network.feature_size * 2 ** len(network.depths)
    found: dict[str, tuple[Proxy, float]] = {}
    if tasks.rotation.weight:
        found["rotation"] = Rotation(tasks.rotation, width), tasks.rotation.weight
    if tasks.inpainting.weight:
        found["inpainting"] = Inpainting(tasks.inpainting, network), tasks.inpainting.weight
    if tasks.masked.weight:
        found["masked"] = Masked(tasks.masked, network), tasks.masked.weight
    if tasks.contrastive.weight:
        found["contrastive"] = Contrastive(tasks.contrastive, width), tasks.contrastive.weight
    return found
