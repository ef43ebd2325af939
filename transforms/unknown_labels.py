"""Label values that a task does not know: each set is reported once, with the description of a task that knows them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from swin_unetr.config_io import to_dict
from swin_unetr.datasets import DESCRIPTION
from swin_unetr.errors import DataError
from swin_unetr.tasks import Task
from swin_unetr.words import count

#: How many label files a line names.
_NAMED = 5


class UnknownLabelsError(DataError):
    """A label file holds values that the task does not know.

    Attributes:
        path: the file.
        values: those that are not known.
        words: what follows the name of the file.
    """

    def __init__(self, path: Path, values: Collection[int], task: Task) -> None:
        self.path, self.values, self._task = path, tuple(sorted(values)), task
        known = ", ".join(map(str, sorted(task.known_labels)))
        self.words = (
            f"label values {list(self.values)} that task {task.name!r} does not know (it has {known}); in a "
            f"{DESCRIPTION} in the folder of the data, list them as other_labels to train on them as background, or "
            "name them as structures"
        )
        super().__init__(f"{path}: holds {self.words}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep all fields when it comes from another process."""
        return type(self), (self.path, self.values, self._task)


def problem_lines(problems: Iterable[Exception], task: Task) -> Iterator[str]:
    """A line for each problem; unknown label values are reported once, with a task that knows them."""
    unknown: dict[tuple[int, ...], list[UnknownLabelsError]] = {}
    for problem in problems:
        if isinstance(problem, UnknownLabelsError):
            unknown.setdefault(problem.values, []).append(problem)
        else:
            yield f"  {problem}"
    for of in unknown.values():
        names = [problem.path.name for problem in of]
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        files = f"{count(len(names), 'label file')} ({', '.join(names[:_NAMED])}{more})"
        yield f"  {of[0]}" if len(of) == 1 else f"  {files}: hold {of[0].words}"
    if unknown:
        yield _remedy(sorted(set().union(*unknown)), task)


def _remedy(values: list[int], task: Task) -> str:
    """The description of a task that counts more values as background."""
    allowed = dataclasses.replace(task, other_labels=(*task.other_labels, *values))
    text = yaml.safe_dump(to_dict(allowed), default_flow_style=True, width=math.inf, sort_keys=False).strip()
    return f"a {DESCRIPTION} that counts {', '.join(map(str, values))} as background is: {text}"
