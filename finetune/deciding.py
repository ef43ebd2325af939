"""What can be held back, and by which of its structures a model can be chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from finetune.class_presence import absent_classes
from swin_unetr.datasets.case import Dataset
from swin_unetr.errors import DataError
from swin_unetr.tasks import Task
from swin_unetr.words import count

_ALL = "every case is trained on, so that validation cannot choose a model"
_NONE = "no validation case has a structure that was trained on, so that validation cannot choose a model"


@dataclass(frozen=True, kw_only=True)
class Deciding:
    """What the cases of a fold hold, counted on the grid of the network."""

    task: Task
    #: Names of structures that no training case has; they cannot be learnt.
    untrained: tuple[str, ...]
    #: Names of structures that no validation case has; how well they were learnt is unknown.
    unvalidated: tuple[str, ...]
    #: Why the last model is taken, whatever its score; None if the score decides.
    always_last: str | None

    @classmethod
    def of(
        cls,
        task: Task,
        training: Iterable[tuple[int, ...]],
        validation: Iterable[tuple[int, ...]],
        fold: int | Literal["all"],
    ) -> Deciding:
        """From the cases of a fold.

        Args:
            task: its targets are the structures.
            training: for every training scan, its voxels of background and of each target.
            validation: the same of every validation scan.
            fold: the one that is held back, or "all" if none is.
        """
        untrained, unvalidated = (absent_classes(scans, task) for scans in (training, validation))
        none = {*untrained, *unvalidated} == {target.name for target in task.targets}
        return cls(
            task=task,
            untrained=untrained,
            unvalidated=unvalidated,
            always_last=_ALL if fold == "all" else _NONE if none else None,
        )

    @property
    def structures(self) -> tuple[bool, ...]:
        """For each structure of the task whether the model is chosen by it."""
        return tuple(target.name not in (*self.untrained, *self.unvalidated) for target in self.task.targets)

    def lines(self) -> list[str]:
        """What a person should know of the choice before the training."""
        lines = []
        if names := [name for name in self.unvalidated if name not in self.untrained]:  # a warning names those
            lines.append(f"no validation case has {', '.join(names)}: it takes no part in the choice of the model")
        if self.always_last is not None:
            lines.append(f"{self.always_last}: best/ takes the last one")
        return lines

    def facts(self) -> dict[str, object]:
        """The same for the record of a run."""
        names = [target.name for target, is_so in zip(self.task.targets, self.structures, strict=True) if is_so]
        return {
            "structures": names,
            "not_in_training": self.untrained,
            "not_in_validation": self.unvalidated,
            "always_last": self.always_last,
        }


def refuse_single_patient(dataset: Dataset) -> None:
    """Refuse to hold back the only patient that there is.

    Raises:
        DataError: says how to train without validation.
    """
    if len({dataset.groups.get(case.id, case.id) for case in dataset.cases}) < 2:
        raise DataError(
            f"{dataset.root}: {count(len(dataset.cases), 'case')} of a single patient cannot be trained on and held "
            "back for validation; train without validation by --fold all, or add patients"
        )
