"""What the label values of each side mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_unetr.errors import DataError
from swin_unetr.tasks import BRATS_AFTER_TREATMENT, BRATS_CONVENTIONS, Task, brats, brats_convention

#: Every value that any BraTS convention knows.
_BRATS_VALUES = frozenset({0, *(label for regions in BRATS_CONVENTIONS.values() for label in regions["WT"])})


@dataclass(frozen=True)
class LabelValues:
    """The label values that occur in a case."""

    prediction: Sequence[int]
    reference: Sequence[int]


@dataclass(frozen=True)
class Tasks:
    """The task of each side; both have the same structures by name."""

    prediction: Task
    reference: Task

    def structures(self) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        """Name of every structure in the reference's order, its label values in the prediction and the reference."""
        predicted = {target.name: target.labels for target in self.prediction.targets}
        for target in self.reference.targets:
            yield target.name, predicted[target.name], target.labels


@dataclass(frozen=True)
class Labels:
    """What is known of the labels before the files are read."""

    task: Task
    #: Where the task comes from, for the report.
    source: str
    #: The task of the references, where their values mean something else. If None, `task` is theirs too.
    reference: Task | None = None
    #: Things to know, for the report.
    notes: tuple[str, ...] = ()
    #: Whether each side's BraTS convention is inferred from its label values; otherwise `task` holds for both.
    told_from_data: bool = False

    def tasks(self, cases: Sequence[LabelValues] = (), *, recent: bool = False) -> Tasks:
        """The task of each side; if necessary, inferred from the label values of all cases.

        Args:
            cases: what occurs in each case.
            recent: whether the cases have names as BraTS gives them since 2023. There 4 beside 3 is the resection
                cavity of 2024; before, 3 is the non-enhancing core of 2013 and 4 the enhancing tumour.
        """
        if self.reference is not None:
            return Tasks(self.task, self.reference)
        return Tasks(
            self._of_side([values.prediction for values in cases], recent),
            self._of_side([values.reference for values in cases], recent),
        )

    def _of_side(self, values_of_cases: Sequence[Sequence[int]], recent: bool) -> Task:
        """The task of the predictions or of the references; a case with foreign values is not considered."""
        if not self.told_from_data:
            return self.task
        seen = {value for values in values_of_cases if _BRATS_VALUES.issuperset(values) for value in values}
        if recent and {3, 4} <= seen:
            return brats(BRATS_AFTER_TREATMENT)
        return brats(brats_convention(seen, fallback=self.task.name))


def check_values(values: Sequence[int], task: Task, path: Path) -> None:
    """Refuse label values that the task does not know.

    Raises:
        DataError: names them and the file.
    """
    if unknown := sorted(set(values) - task.known_labels):
        raise DataError(
            f"{path}: holds label values {unknown} that task {task.name} does not know; "
            f"correct the file, or say with --task or --labels what they mean"
        )
