"""The cells of a study: one training each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from swin_unetr.study.config import StudyConfig


@dataclass(frozen=True, kw_only=True, order=True)
class Cell:
    """One training of one arm, and its score."""

    data: str
    arm: str
    fold: int
    seed: int
    #: Share of the training cases whose labels are used.
    labels: float

    @property
    def id(self) -> str:
        """Name of its folder, and of its lock."""
        return f"{self.data},{self.arm},fold{self.fold},seed{self.seed},labels{100 * self.labels:g}"

    def __str__(self) -> str:
        """In words."""
        share = "" if self.labels == 1 else f", {100 * self.labels:g} % of the labels"
        return f"{self.arm} on {self.data}, fold {self.fold}, seed {self.seed}{share}"


def cells_of(study: StudyConfig, folds: Mapping[str, int]) -> list[Cell]:
    """All cells, those of the first seed first: a study that is stopped has complete comparisons.

    Args:
        study: the study.
        folds: how many folds each data set has.
    """
    return list(_cells(study, folds))


def _cells(study: StudyConfig, folds: Mapping[str, int]) -> Iterator[Cell]:
    for seed in study.seeds:
        for data in study.data:
            for fold in study.folds if folds[data] > 1 else (0,):
                for labels in sorted({*study.labels, *(of for arm in study.arms.values() for of in arm.labels or ())}):
                    for name, arm in study.arms.items():
                        if labels in (study.labels if arm.labels is None else arm.labels):
                            yield Cell(data=data, arm=name, fold=fold, seed=seed, labels=labels)
