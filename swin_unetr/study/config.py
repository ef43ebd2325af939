"""What a study compares, as a study file says it. Knows no torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from swin_unetr.config import WindowWeights
from swin_unetr.datasets.readers import Layout

#: Names become parts of paths.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
#: The recipe that is planned for each data set and fold, from their training cases.
PLANNED = "plan"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set, and which of its cases are the test cases.

    The test cases are those of the folder `test`, or those of `held_back`; or, fold by fold, those of a split.
    Paths are relative to the current folder and may hold variables such as $DATA.
    """

    #: Labelled data set. `--data NAME=FOLDER` gives it on the command line.
    folder: str = ""
    #: Layout of the folder; "auto" recognises it from its files.
    layout: Layout = "auto"
    #: Only these cases: their ids, or a file that lists them. If None, all.
    cases: tuple[str, ...] | str | None = None
    #: A `task.yaml` that says what the labels mean, if the folder does not say it.
    task: str | None = None
    #: A data set of test cases; all cases of `folder` are then training cases.
    test: str | None = None
    #: Ids of the test cases, or a file that lists them; the other cases are training cases.
    held_back: tuple[str, ...] | str | None = None
    #: A split, folds.json, whose folds are the test cases. If None, the cases are dealt out to `num_folds`.
    split: str | None = None
    #: Number of folds, if no split is given.
    num_folds: int = 5
    #: Seed by which the cases are dealt out.
    split_seed: int = 0

    def __post_init__(self) -> None:
        given = [name for name in ("test", "held_back", "split") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: {given[0]} already says which cases are the test cases; give one of them")
        if self.num_folds < 2:
            raise ValueError(f"num_folds: at least 2 are needed, got {self.num_folds}")


@dataclass(frozen=True, kw_only=True)
class PredictionConfig:
    """How the test cases are segmented; what is None is as the model's recipe has it."""

    #: Average over mirror images.
    tta: bool | None = None
    #: Share of a window that overlaps its neighbour.
    overlap: float | None = None
    #: How overlapping windows are blended: "gaussian" or "constant".
    weights: WindowWeights | None = None

    def __post_init__(self) -> None:
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise ValueError(f"overlap: must lie in 0..1, 1 excluded, got {self.overlap}")


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """One way to train: a recipe with its changes, or the command of another program."""

    #: A recipe: a YAML file, or the name of a shipped one; or "plan", which is planned from the training cases.
    recipe: str = PLANNED
    #: Changes of the recipe by dotted field, such as {network.use_v2: true}.
    overrides: dict[str, Any] = field(default_factory=dict)
    #: Weights to start from: a model folder, a run folder, or a published file. If None, random ones.
    init: str | None = None
    #: Scans without labels that it learns from beside the labelled ones: a folder or a list; options such as
    #: `unlabelled.weight` are overrides. If None, it learns from labelled scans alone.
    unlabelled: str | None = None
    #: The shares of the labels that this arm is trained on. If None, those of the study.
    labels: tuple[float, ...] | None = None
    #: How this arm segments the test cases, where it differs from the study.
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    #: Another program that trains and segments, with placeholders such as {training_list}; no shell reads it. If None,
    #: this program trains.
    command: str | None = None

    def __post_init__(self) -> None:
        _check_shares(self.labels)
        if self.command is not None and (self.overrides or self.init is not None or self.unlabelled is not None):
            raise ValueError(
                "command: another program has no overrides, no init and no unlabelled; give them in its command"
            )
        if "unlabelled.paths" in self.overrides:
            raise ValueError("overrides: unlabelled.paths is given by unlabelled of the arm, where it is checked")


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """What each training may take: steps or minutes, the same for every arm."""

    #: Steps of the optimiser. If None, `minutes` counts.
    steps: int | None = None
    #: Minutes of training. If None, `steps` counts.
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "minutes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}: must be positive, got {value}")
        if self.steps is not None and self.minutes is not None:
            raise ValueError("minutes: the budget is in steps or in minutes; give one of them")

    def part(self, share: float) -> BudgetConfig:
        """A share of the budget, at least a step."""
        if self.steps is not None:
            return BudgetConfig(steps=max(1, math.ceil(share * self.steps)))
        return BudgetConfig(minutes=None if self.minutes is None else share * self.minutes)

    def in_words(self) -> str:
        """Such as "300 steps" or "30 minutes"."""
        return f"{self.steps} steps" if self.steps is not None else f"{self.minutes:g} minutes"


@dataclass(frozen=True, kw_only=True)
class RatesConfig:
    """A search over learning rates before each training, the same for every arm of this program."""

    #: Up to three learning rates to try. If empty, each arm keeps that of its recipe.
    values: tuple[float, ...] = ()
    #: Share of the budget that each of them is tried for, beside the budget.
    share: float = 0.2

    def __post_init__(self) -> None:
        if len(self.values) == 1 or len(self.values) > 3 or len(set(self.values)) != len(self.values):
            raise ValueError(f"values: two or three different rates are tried, got {list(self.values)}")
        if self.values and min(self.values) <= 0:
            raise ValueError(f"values: must be positive, got {list(self.values)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: must lie above 0 and up to 1, got {self.share}")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A study: every arm on every data set, fold, share of the labels and seed."""

    #: Data sets by name.
    data: dict[str, DataConfig] = field(default_factory=dict)
    #: Ways to train by name.
    arms: dict[str, ArmConfig] = field(default_factory=dict)
    #: The arm that the others are compared with. If None, the first.
    baseline: str | None = None
    #: Folds to train, from 0; a data set with a list or a folder of test cases has fold 0 alone.
    folds: tuple[int, ...] = (0,)
    #: Seeds of the trainings.
    seeds: tuple[int, ...] = (0,)
    #: Shares of the training cases, by patients, whose labels are used; a smaller share lies within a larger one.
    labels: tuple[float, ...] = (1.0,)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    rates: RatesConfig = field(default_factory=RatesConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    #: Tolerance of the normalised surface Dice in millimetres.
    tolerance_mm: float = 2.0
    #: Up to so many test cases give the curves of Dice against time; they choose nothing.
    curve_cases: int = 5
    #: About so many points of each curve.
    curve_points: int = 8

    def __post_init__(self) -> None:
        for kind, name in [("data", of) for of in self.data] + [("arms", of) for of in self.arms]:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{kind}: {name!r} should be letters, digits and . _ + -, since it names folders")
        if self.baseline is not None and self.baseline not in self.arms:
            raise ValueError(f"baseline: {self.baseline!r} is not one of the arms {', '.join(self.arms)}")
        for name in ("folds", "seeds", "labels"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name}: needs at least one value, each once, got {list(values)}")
        if min(*self.folds, *self.seeds, 0) < 0:
            raise ValueError(f"folds: folds and seeds must not be negative, got {list(self.folds)}, {list(self.seeds)}")
        _check_shares(self.labels)
        for name in ("tolerance_mm", "curve_cases", "curve_points"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}")

    @property
    def reference(self) -> str:
        """Name of the arm that the others are compared with."""
        return self.baseline or next(iter(self.arms))


def _check_shares(labels: tuple[float, ...] | None) -> None:
    if labels is not None and not all(0 < share <= 1 for share in labels):
        raise ValueError(f"labels: shares must lie above 0 and up to 1, got {list(labels)}")
