"""Which of the equal ways to compute a network is taken."""

from __future__ import annotations

from torch import nn

from swin_unetr.config import AttentionPath, MemoryLayout, SpeedConfig
from swin_unetr.networks.conv_decoder import ResidualBlock
from swin_unetr.networks.window_attention import WindowAttention


def choose_fast_paths(network: nn.Module, config: SpeedConfig) -> dict[str, str]:
    """Set every part of a network to the paths of a configuration; the function that it computes is the same.

    Args:
        network: a `SwinUNETR` or `SwinEncoder`; others are left as they are.
        config: the paths; "auto" decides at each call, by the device, the type and the number of tokens of a window.

    Returns:
        What was set, for the record of a run.
    """
    attention: AttentionPath = config.attention if config.fast else "explicit"
    layout: MemoryLayout = config.memory_layout if config.fast else "unchanged"
    for module in network.modules():
        if isinstance(module, WindowAttention):
            module.path = attention
        elif isinstance(module, ResidualBlock):
            module.layout = layout
    compiled = config.fast and config.compile
    if compiled:
        network.compile(dynamic=False)  # in place: its weights keep their names
    return {"attention": attention, "memory_layout": layout, "compiled": "yes" if compiled else "no"}
