"""The warm-up of a training that is shorter than its recipe says. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swin_unetr.config_io import RUN_CONFIG, read_yaml
from swin_unetr.words import count

_OPTION = "--optimizer.warmup_epochs"


def keep_warmup_share(
    values: dict[str, Any], recipe: Mapping[str, Any], argv: Sequence[str], run: Path | None
) -> str | None:
    """Give a shorter training the share of warm-up that its recipe has; a line that says so, or None.

    Nothing is changed if the command line gives the warm-up. A run that goes on keeps the one that it has.

    Args:
        values: of all fields, by group; changed in place.
        recipe: the same without the command line.
        argv: of the command.
        run: folder of the run that goes on, if it has begun; None for a new run.
    """
    before = recipe["optimizer"]["warmup_epochs"]
    given = any(word.partition("=")[0] == _OPTION for word in argv) or values["optimizer"]["warmup_epochs"] != before
    if given or values["optimizer"].get("warmup_share") is not None:
        return None
    if run is not None and (begun := run / RUN_CONFIG).is_file():
        values["optimizer"]["warmup_epochs"] = read_yaml(begun).get("optimizer", {}).get("warmup_epochs", before)
        return None
    epochs, whole = values["trainer"]["max_epochs"], recipe["trainer"]["max_epochs"]
    if not before or not 0 < epochs < whole:
        return None
    warmup = float(f"{before * epochs / whole:.3g}")
    values["optimizer"]["warmup_epochs"] = warmup
    return f"warm-up: {warmup:g} of {count(epochs, 'epoch')}, the share that the recipe has ({before:g} of {whole})"
