"""Which parameters AdamW decays."""

from __future__ import annotations

from typing import Any

from torch import nn

from swin_unetr.config import OptimizerConfig
from swin_unetr.networks.window_attention import WindowAttention


def parameter_groups(module: nn.Module, config: OptimizerConfig) -> list[nn.Parameter] | list[dict[str, Any]]:
    """The parameters of a module, as an optimiser takes them.

    Args:
        module: what is trained.
        config: `decay_all`.

    Returns:
        Those that have a gradient: all of them, or two groups, those that are decayed first, if norms, biases and
        tables are not.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if config.decay_all:
        return trained
    kept = _not_decayed(module)
    decayed = [parameter for parameter in trained if id(parameter) not in kept]
    others = [parameter for parameter in trained if id(parameter) in kept]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def decay_facts(module: nn.Module, config: OptimizerConfig) -> dict[str, Any]:
    """How many tensors are decayed, for the record of a run; empty if all are."""
    if config.decay_all:
        return {}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    kept = len({id(parameter) for parameter in trained} & _not_decayed(module))
    return {"weight_decay": {"decayed": len(trained) - kept, "not_decayed": kept}}


def _not_decayed(module: nn.Module) -> set[int]:
    """Norms, biases and mask tokens, which are vectors, and the tables of relative positions: their ids."""
    tables = {id(part.bias_table) for part in module.modules() if isinstance(part, WindowAttention)}
    return tables | {id(parameter) for parameter in module.parameters() if parameter.ndim < 2}
