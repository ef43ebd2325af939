"""What a training knows of structures that were not looked for in some of its cases.

None of this takes part in a training whose cases were searched for all structures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from swin_unetr.datasets.case import Case
from swin_unetr.datasets.labelled import looked_for, partly_labelled
from swin_unetr.errors import ConfigError
from swin_unetr.suggestions import listed_with_nearest
from swin_unetr.tasks import Task
from swin_unetr.words import count

#: Key of a sample and a batch: for each output channel of the network whether it was looked for in the case.
LABELLED = "labelled"
#: Key in the record of a run: by case the structures that were looked for, of cases in which these are not all.
RECORDED = "labelled"
#: Structures that a line names.
_MOST_NAMED = 12


class PartialLabels:
    """For each of some cases, which structures were looked for.

    Args:
        cases: in the order in which they are asked for.
        task: the structures.
    """

    def __init__(self, cases: Sequence[Case], task: Task) -> None:
        self._rows = [looked_for(case, task) for case in cases]
        self._softmax = task.activation == "softmax"

    def __bool__(self) -> bool:
        """Whether there is a case in which not all were looked for."""
        return not all(all(row) for row in self._rows)

    def targets(self, index: int) -> tuple[bool, ...]:
        """Of one case, for each structure."""
        return self._rows[index]

    def channels(self, index: int) -> Tensor:
        """Of one case, for each output channel of the network: bool; background always is."""
        return torch.tensor((True, *self._rows[index]) if self._softmax else self._rows[index])

    def counted(self, index: int, voxels: Sequence[int]) -> tuple[int, ...]:
        """Voxels of background and of each structure of a case, as a training counts them.

        What was not looked for counts as background, and has no voxels of its own.
        """
        if all(self._rows[index]):
            return tuple(voxels)
        known = (number if is_so else 0 for number, is_so in zip(voxels[1:], self._rows[index], strict=True))
        hidden = (0 if is_so else number for number, is_so in zip(voxels[1:], self._rows[index], strict=True))
        return (voxels[0] + sum(hidden) * self._softmax, *known)


def summary(cases: Sequence[Case], task: Task) -> str:
    """In how many cases each structure was looked for, in a line; empty if all were, in all."""
    partly = partly_labelled(cases, task)
    if not partly:
        return ""
    rows = [looked_for(case, task) for case in cases]
    numbers = [sum(of) for of in zip(*rows, strict=True)]
    named = [
        f"{target.name} {number}" for target, number in zip(task.targets, numbers, strict=True) if number < len(cases)
    ]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return (
        f"partial labels: in {len(partly)} of {count(len(cases), 'case')} not every structure was looked for; cases in "
        f"which they were: {', '.join(named[:_MOST_NAMED])}{more}"
    )


def of_hidden_voxels(cases: Sequence[Case], task: Task, voxels: Iterable[Sequence[int]]) -> str:
    """A warning about label files that hold what was not looked for; else empty.

    Args:
        cases: the cases.
        task: the structures.
        voxels: of each case, those of background and of each target in its label file.
    """
    odd = [
        f"{case.id} ({', '.join(names)})"
        for case, of in zip(cases, voxels, strict=True)
        if (names := list(_hidden(case, task, of)))
    ]
    if not odd:
        return ""
    return (
        f"warning: label files hold structures that were not looked for there, by what is said of the cases: "
        f"{listed_with_nearest(odd, ())}; these voxels count as not looked for, as if they were background; add the "
        "structure to what was looked for if it is complete"
    )


def _hidden(case: Case, task: Task, voxels: Sequence[int]) -> Iterator[str]:
    for target, is_looked_for, number in zip(task.targets, looked_for(case, task), voxels[1:], strict=True):
        if number and not is_looked_for:
            yield target.name


def refuse_other_labels(run: Path, before: Mapping[str, Any], now: Mapping[str, Sequence[str]]) -> None:
    """Refuse to go on with a run if something else counts as looked for than when it began.

    Args:
        run: its folder.
        before: its record; empty if it begins.
        now: as `labelled.partly_labelled` gives it.

    Raises:
        ConfigError: names the cases.
    """
    if not before:
        return
    known = {case: list(names) for case, names in before.get(RECORDED, {}).items()}
    here = {case: list(names) for case, names in now.items()}
    if changed := sorted(case for case in {*known, *here} if known.get(case) != here.get(case)):
        raise ConfigError(
            f"{run}: cannot be resumed with other partial labels; since it began, the structures that were looked for "
            f"changed of {listed_with_nearest(changed, ())}; restore the table, or choose another --output"
        )
