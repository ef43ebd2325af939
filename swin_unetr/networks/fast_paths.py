"""Which of the equivalent ways to compute a network is used."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from swin_unetr.config import AttentionPath, MemoryLayout, SpeedConfig
from swin_unetr.errors import ConfigError
from swin_unetr.networks.baselines import BaselineNetwork
from swin_unetr.networks.conv_decoder import ResidualBlock, UpBlock
from swin_unetr.networks.swin_encoder import SwinStage
from swin_unetr.networks.window_attention import WindowAttention

#: A part that can be computed a second time in the backward pass, as a whole.
Part = SwinStage | UpBlock | ResidualBlock


def choose_fast_paths(network: nn.Module, config: SpeedConfig) -> dict[str, str]:
    """Set every part of a network to the paths of a configuration; the function that it computes is the same.

    Args:
        network: a `SwinUNETR` or `SwinEncoder`; for others, such as a baseline, only compilation is set.
        config: the paths. "auto" decides at each call, by the device, the type and the number of tokens of a window;
            it does not compile, and leaves recomputation as it is.

    Returns:
        What was set, for the record of a run; "not applicable" for what a baseline does not have.

    Raises:
        ConfigError: the network has no part with a name that is given for recomputation.
    """
    attention: AttentionPath = config.attention if config.fast else "explicit"
    layout: MemoryLayout = config.memory_layout if config.fast else "unchanged"
    for module in network.modules():
        if isinstance(module, WindowAttention):
            module.path = attention
        elif isinstance(module, ResidualBlock):
            module.layout = layout
    if config.recompute != "auto":
        _recompute(network, config.recompute)
    mode = {True: "default", False: "off", "auto": "off"}.get(config.compile, str(config.compile))
    if not config.fast:
        mode = "off"
    if mode != "off":
        network.compile(dynamic=False, mode=mode)  # in place: its weights keep their names
    if isinstance(network, BaselineNetwork):
        return {**dict.fromkeys(("attention", "memory_layout", "recompute"), "not applicable"), "compile": mode}
    again = ", ".join(name for name, part in recomputable(network) if part.recompute)
    return {"attention": attention, "memory_layout": layout, "compile": mode, "recompute": again or "none"}


def recomputable(network: nn.Module) -> Iterator[tuple[str, Part]]:
    """Names of the parts that can be computed a second time in the backward pass, and the parts.

    They are ordered by the memory that they save for their time: transformer stages, the blocks on the skips, and the
    decoder, from its finest map on. The finest map comes late because the backward pass begins with it, when everything
    else is still in memory.
    """
    inside, decoder = "", []
    for name, module in network.named_modules():
        if isinstance(module, Part) and not (inside and name.startswith(inside)):
            inside = f"{name}."
            if isinstance(module, UpBlock):
                decoder.append((name, module))
            else:
                yield name, module
    yield from reversed(decoder)


def _recompute(network: nn.Module, chosen: str | Collection[str]) -> None:
    parts = dict(recomputable(network))
    if not parts and chosen and chosen != "none":
        raise ConfigError("speed.recompute: this network has no parts that can be recomputed; leave it out")
    if isinstance(chosen, str):
        encoder = [name for name, part in parts.items() if isinstance(part, SwinStage)]
        chosen = {"none": [], "encoder": encoder, "all": list(parts)}[chosen]
    if unknown := sorted(set(chosen) - set(parts)):
        raise ConfigError(f"speed.recompute: the network has no part {unknown[0]!r}; choose among {', '.join(parts)}")
    for name, part in parts.items():
        part.recompute = name in chosen
