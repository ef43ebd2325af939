"""Whether a run that is resumed is the one that was begun."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from swin_unetr.checkpoints.starting_point import StartingPoint, refuse_other_start
from swin_unetr.config_io import to_dict
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import Task


def refuse_another(
    run: Path, record: Mapping[str, Any], *, fold: int | Literal["all"], task: Task, start: StartingPoint | None
) -> None:
    """Refuse to go on with another fold, task or start than the run began with.

    Args:
        run: its folder.
        record: of the run; empty where it begins.
        fold: that is asked for.
        task: what the data's labels mean now.
        start: weights that are named now, or None. The run goes on from its own checkpoint anyway.

    Raises:
        ConfigError: with what differs.
    """
    if not record:
        return
    if record.get("fold") != fold:
        raise ConfigError(f"{run}: cannot be resumed with another fold (was {record.get('fold')}, now {fold})")
    before, now = record.get("task", {}), to_dict(task)
    if differs := [key for key in now if key in before and before[key] != now[key]]:
        raise ConfigError(
            f"{run}: cannot be resumed with another task; the data's {', '.join(differs)} changed since it began; "
            "restore their description, or choose another --output"
        )
    refuse_other_start(run, record, start, left_out=True)


def changed_files(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The cases whose images or labels held something else in one run than in another, by the records of both."""
    first, second = one.get("contents", {}), other.get("contents", {})
    return ", ".join(sorted(case for case in first if first[case] != second.get(case, first[case])))


def of_changed_files(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """A warning if files changed since a run began; else empty."""
    changed = changed_files(before, now)
    return f"warning: since the run began, files changed of {changed}; it goes on with the new ones" if changed else ""
