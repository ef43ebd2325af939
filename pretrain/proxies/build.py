"""The tasks of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pretrain.proxies.config import MaskedConfig, ProxiesConfig
from pretrain.proxies.contrastive import Contrastive
from pretrain.proxies.distillation import Distillation
from pretrain.proxies.inpainting import Inpainting
from pretrain.proxies.masked import Masked, MaskedCubes
from pretrain.proxies.masked_network import MaskedNetwork
from pretrain.proxies.moby import Moby
from pretrain.proxies.proxy import Proxy
from pretrain.proxies.rotation import Rotation
from swin_unetr.config import NetworkConfig


def _masked(config: MaskedConfig, network: NetworkConfig) -> MaskedCubes:
    return MaskedNetwork(config, network) if config.through == "network" else Masked(config, network)


#: What makes each task, by the field of `ProxiesConfig`, in the order in which the tasks change the views.
#: A view is turned before anything is cut out of it, so that the target of the reconstruction is turned too.
_TASKS: dict[str, Callable[[Any, NetworkConfig], Proxy]] = {
    "rotation": Rotation,
    "inpainting": Inpainting,
    "masked": _masked,
    "contrastive": Contrastive,
    "distillation": Distillation,
    "moby": Moby,
}


def build_proxies(tasks: ProxiesConfig, network: NetworkConfig) -> dict[str, tuple[Proxy, float]]:
    """Name, task and weight of all tasks with a weight above 0, in the order in which they change the views.

    Args:
        tasks: their configurations.
        network: shape of the encoder.
    """
    configs = {name: getattr(tasks, name) for name in _TASKS}
    return {name: (_TASKS[name](task, network), task.weight) for name, task in configs.items() if task.weight}
