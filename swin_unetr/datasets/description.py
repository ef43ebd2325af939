"""The `task.yaml` that a person may put beside scans, in any layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from swin_unetr.config_io import from_dict, read_yaml
from swin_unetr.datasets.case import Absent
from swin_unetr.tasks import Task

#: Name of the file.
DESCRIPTION = "task.yaml"


@dataclass(frozen=True, kw_only=True)
class Description(Task):
    """A task, and what is true of the label files of this data set alone."""

    #: What it means that the label file of a case holds no voxel of a structure: "background", the structure is not
    #: there; "not_looked_for", nobody looked for it, unless a table says which structures were looked for in the case.
    absent: Absent = "background"


def read_description(path: Path) -> tuple[Task, Absent]:
    """The task of a `task.yaml`, and its rule on what a label file lacks.

    Raises:
        ConfigError: the file is wrong.
    """
    values = read_yaml(path)
    return task_from(values, source=str(path)), from_dict(Description, values, source=str(path)).absent


def task_from(values: Mapping[str, Any], *, source: str) -> Task:
    """The task that a file describes; a rule of the data set beside it has no part in the task.

    Args:
        values: what the file holds.
        source: the file, for messages.

    Raises:
        ConfigError: an unknown field, or a wrong value.
    """
    described = from_dict(Description, values, source=source)
    return Task(**{field.name: getattr(described, field.name) for field in fields(Task)})
