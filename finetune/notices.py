"""What a fine-tuning says of its data before it trains; a line is empty if there is nothing to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_unetr.config import AugmentConfig, NetworkConfig
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.tasks import Task
from transforms.exchange import exchanged_pairs, mirror_image_of

#: How the names of MONAI's mirrors begin.
_MONAI_MIRRORS = ("RandFlip", "RandAxisFlip", "Flip")


def of_mirrored_sides(augment: AugmentConfig, task: Task) -> Iterator[str]:
    """Mirroring that makes one structure look like another one, which their names distinguish.

    If sides are to be exchanged, the structures that have no partner, for which X is not mirrored.
    """
    told = mirror_image_of(task)
    if not told.unknown and not any(one != other for one, other in enumerate(told.partners)):
        return
    moved = [
        name for listed in augment.monai for name, arguments in listed.items() if _mirrors_x(name, arguments or {})
    ]
    if moved:
        yield (
            f"warning: {', '.join(moved)} of augment.monai mirrors left and right, which names of structures "
            "distinguish; mirror by augment.flip_probability and augment.exchange_sides instead"
        )
    if not augment.flip_probability[0]:
        if not augment.exchange_sides:
            return
        yield (
            "warning: augment.exchange_sides changes nothing, for augment.flip_probability does not mirror along X; "
            "set its first number to 0.5"
        )
    elif not augment.exchange_sides:
        yield (
            "warning: augment.flip_probability mirrors left and right, which names of structures distinguish; set its "
            "first number to 0, or augment.exchange_sides to true, unless the structures of both sides look different"
        )
    elif told.unknown:
        yield (
            "warning: augment.exchange_sides: crops are not mirrored along X: the mirror image of "
            f"{', '.join(told.unknown)} is not known; add pairs: [[NAME, NAME], ...] to task.yaml (a "
            "structure that stays itself is paired with itself)"
        )


def of_exchanged_sides(augment: AugmentConfig, task: Task) -> str:
    """The pairs that are exchanged in crops that are mirrored along X."""
    pairs = exchanged_pairs(augment, task)
    return f"mirrored along X with exchanged labels: {'; '.join(map(' and '.join, pairs))}" if pairs else ""


def _mirrors_x(name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a transform of MONAI is a mirror that may go along X, the first axis; without axes it goes along all."""
    axes = arguments.get("spatial_axis")
    listed = axes if isinstance(axes, list | tuple) else [axes]
    return name.startswith(_MONAI_MIRRORS) and not {0, -3, None}.isdisjoint(listed)


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
