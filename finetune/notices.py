"""What a fine-tuning says of its data before it trains; a line is empty if there is nothing to say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_unetr.config import AugmentConfig, NetworkConfig
from swin_unetr.sides import sided_axes
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.tasks import Task


def of_mirrored_sides(augment: AugmentConfig, task: Task) -> str:
    """Mirroring that exchanges structures which their names distinguish."""
    if not augment.flip_probability[0] or not sided_axes(target.name for target in task.targets)[0]:
        return ""
    return (
        "warning: augment.flip_probability mirrors left and right, which names of structures distinguish; set its "
        "first number to 0 unless the structures of both sides look different"
    )


def of_absent_classes(absent: Sequence[str], fold: object) -> str:
    """Classes that no training case has."""
    if not absent:
        return ""
    names, remedy = ", ".join(absent), "label more cases, or leave the structure out of the task"
    if fold == "all":
        return f"warning: no case has {names}: the model cannot learn this; {remedy}"
    return (
        f"warning: no training case of fold {fold} has {names}: the model cannot learn this, and is not chosen by it; "
        f"take another fold, {remedy}"
    )


def of_seen_scans(init: Path | str, seen: Sequence[str] | None) -> str:
    """Validation scans that the weights have seen, or weights that do not record them.

    Args:
        init: the weights.
        seen: ids of the scans; None if the weights do not record any.
    """
    if seen is None:
        return f"{init} does not record which scans it was trained on; those of the validation should not be among them"
    if not seen:
        return ""
    return (
        f"warning: {init} was trained on {len(seen)} of the validation scans, so their scores are too good: "
        f"{listed_with_nearest(seen, ())}; start from weights that have not seen them, "
        "those of pretrain --exclude or of the same fold"
    )


def of_baseline(network: NetworkConfig) -> str:
    """Text behind the number of parameters: which baseline it is, and its settings; empty for a Swin UNETR."""
    if network.baseline is None:
        return ""
    return f" of {network.architecture} (its settings are network.baselines.{network.architecture} alone)"
