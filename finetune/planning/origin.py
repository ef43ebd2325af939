"""What a plan.yaml was made for, and whether a person changed it: by the fingerprint.json beside it. Knows no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from finetune.planning import FINGERPRINT, PLAN
from swin_unetr.config_io import read_yaml
from swin_unetr.datasets.case import Dataset
from swin_unetr.datasets.union import Folders, join, read_parts
from swin_unetr.errors import ConfigError
from swin_unetr.files import read_text
from swin_unetr.provenance import command
from swin_unetr.words import count


def text_hash(text: str) -> str:
    """Hash of a plan's text, 32 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def refuse_edited(plan: Path) -> None:
    """Keep a plan that a person may have changed.

    Raises:
        ConfigError: it was changed, or it is not known whether it was.
    """
    if not plan.is_file():
        return
    known = str(_beside(plan).get("plan_hash", ""))
    if known != text_hash(read_text(plan)):
        words = "was changed since it was planned" if known else "may have been changed since it was planned"
        raise ConfigError(f"{plan}: {words}; choose another --output, or replace it with --overwrite")


def note_of_origin(plan: Path, data: Folders, layout: str, *, named: bool) -> str:
    """What to say of a plan that was made on other data than it is used for; empty if there is nothing to say.

    Args:
        plan: the file, or any other recipe. Without a fingerprint beside it, nothing is known of its data.
        data: folder of scans and labels that is trained on, or several.
        layout: of `data`.
        named: whether the user named the plan; if False, it was found in the folder of the run.

    Raises:
        ConfigError: a plan that the user did not name was made for other channels, structures or data.
        DataError: no data there.
    """
    made_for = _beside(plan) if plan.name == PLAN else {}
    if not made_for:
        return ""
    parts = read_parts(data, layout)
    if len(parts) > 1 and any(part.task is None for part in parts):
        return ""  # only their label files would say
    dataset = parts[0] if len(parts) == 1 else join(parts)
    ids, here = set(made_for.get("ids") or ()), {case.id for case in dataset.cases}
    root = Path(str(made_for.get("root", "")))
    other = _other_task(made_for.get("task") or {}, dataset)
    if not other and ids and not ids & here and root.resolve() != dataset.root.resolve():
        other = "which have no case in common"
    if other:
        words = f"{plan} was made for {root}, not for {dataset.root}, {other}"
        if named:
            return f"note: {words}"
        raise ConfigError(f"{words}; choose another --output, or take it all the same with --plan {plan}")
    if not ids or ids == here:
        return ""
    new, gone = len(here - ids), len(ids - here)
    words = f"{plan} was made on other cases: {new} of the {count(len(here), 'case')} here had no part in it"
    words += f", and {gone} of its {count(len(ids), 'case')} {'is' if gone == 1 else 'are'} not here" if gone else ""
    if named:
        return f"note: {words}"
    again = command(["plan", *dataset.folders, "--output", "DIR"])
    return f"warning: {words}; if they differ, plan again: {again}"


def _other_task(task: dict[str, Any], dataset: Dataset) -> str:
    """How the channels or structures differ, as far as the layout of the data gives them."""
    channels = dataset.channels if dataset.task is None else dataset.task.channels
    before = tuple(task.get("channels") or ())
    if before and channels and before != channels:
        return f"whose channels differ ({', '.join(before)}; here {', '.join(channels)})"
    structures = [] if dataset.task is None else [target.name for target in dataset.task.targets]
    planned = [str(target.get("name")) for target in task.get("targets") or ()]
    if planned and structures and planned != structures:
        return f"whose structures differ ({', '.join(planned)}; here {', '.join(structures)})"
    return ""


def _beside(plan: Path) -> dict[str, Any]:
    """The fingerprint beside a plan; empty if it is missing or of another plan."""
    path = plan.parent / FINGERPRINT
    try:
        return read_yaml(path) if path.is_file() else {}
    except ConfigError:
        return {}
