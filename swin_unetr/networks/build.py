"""The network of a configuration."""

from __future__ import annotations

from swin_unetr.config import NetworkConfig
from swin_unetr.networks.baselines import BaselineNetwork
from swin_unetr.networks.swin_unetr import SwinUNETR

#: A network that is trained with labels and segments scans.
SegmentationNetwork = SwinUNETR | BaselineNetwork


def build_network(config: NetworkConfig) -> SegmentationNetwork:
    """A network with fresh weights, on the CPU, in training mode.

    Args:
        config: which network, and its shape.

    Returns:
        The network; its parameters depend on the state of torch's random generator.
    """
    return SwinUNETR(config) if config.baseline is None else BaselineNetwork(config)
