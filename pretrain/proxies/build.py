"""The tasks of a configuration."""

from __future__ import annotations

from pretrain.proxies.config import ProxiesConfig
from pretrain.proxies.contrastive import Contrastive
from pretrain.proxies.inpainting import Inpainting
from pretrain.proxies.masked import Masked
from pretrain.proxies.proxy import Proxy
from pretrain.proxies.rotation import Rotation
from swin_unetr.config import NetworkConfig

#: The class of each task, by the field of `ProxiesConfig`, in the order in which the tasks change the views.
#: A view is turned before anything is cut out of it, so that the target of the reconstruction is turned too.
_TASKS: dict[str, type[Proxy]] = {
    "rotation": Rotation,
    "inpainting": Inpainting,
    "masked": Masked,
    "contrastive": Contrastive,
}


def build_proxies(tasks: ProxiesConfig, network: NetworkConfig) -> dict[str, tuple[Proxy, float]]:
    """Name, task and weight of all tasks with a weight above 0, in the order in which they change the views.

    Args:
        tasks: their configurations.
        network: shape of the encoder.
    """
    configs = {name: getattr(tasks, name) for name in _TASKS}
    return {name: (_TASKS[name](task, network), task.weight) for name, task in configs.items() if task.weight}
