"""What masks are compared by: metrics and policies, checked before any file is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.lesions.cases import find_rules
from swin_unetr.evaluation.lesions.rules import LESION_RULES, LesionRules
from swin_unetr.evaluation.measures.distances import (
    TOLERANCE_MM,
    DistancePolicy,
    EmptyDistance,
    Surface,
    implied_empty_distance,
)
from swin_unetr.evaluation.measures.overlap import EmptyPolicy
from swin_unetr.evaluation.metrics import Metric, choose_metrics, wants_lesions
from swin_unetr.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Options:
    """Checked options of `evaluate`, which says what each means."""

    empty: EmptyPolicy
    empty_distance: EmptyDistance
    surface: Surface
    tolerance_mm: float | Mapping[str, float]
    metrics: Collection[str] | None
    lesions: str | None
    resample_prediction: bool
    workers: int

    def lesion_rules(self, task: Task) -> LesionRules | None:
        """The rules by which lesions are scored; None if they are not.

        Raises:
            ConfigError: rules that do not exist, or metrics of lesions without rules.
        """
        wanted = self.metrics is not None and wants_lesions(self.metrics)
        rules = find_rules(self.lesions, task) if self.lesions is not None or wants_lesions(self.metrics) else None
        if wanted and rules is None:
            raise ConfigError(f"lesions: metrics of lesions need rules; give --lesions {'|'.join(LESION_RULES)}")
        return rules

    def chosen_metrics(self, rules: LesionRules | None) -> tuple[Metric, ...]:
        """The metrics, in the table's order."""
        return choose_metrics(self.metrics, self.empty_distance, self.surface, rules)

    def distances(self, structures: Iterable[str]) -> DistancePolicy:
        """How distances are measured.

        Raises:
            ConfigError: a tolerance for a structure that does not exist, or a negative one.
        """
        names = list(structures)
        by_name = dict(self.tolerance_mm) if isinstance(self.tolerance_mm, Mapping) else {}
        default = TOLERANCE_MM if isinstance(self.tolerance_mm, Mapping) else self.tolerance_mm
        if unknown := sorted(set(by_name) - set(names)):
            raise ConfigError(f"tolerance_mm: no structure {unknown[0]!r}; there are {', '.join(names)}")
        if min([default, *by_name.values()]) < 0:
            raise ConfigError("tolerance_mm: must not be negative")
        return DistancePolicy(
            tolerances_mm=by_name,
            default_tolerance_mm=default,
            empty=self.empty,
            empty_distance=self.empty_distance,
            surface=self.surface,
        )


def check_options(*, empty_distance: EmptyDistance | None, **options: Any) -> Options:
    """Options as `evaluate` is given them.

    Args:
        empty_distance: If None, the one that `empty` implies.
        options: the other fields of `Options`.

    Raises:
        ConfigError: a name that does not exist, or a negative number of workers.
    """
    _require_one_of("empty", options["empty"], EmptyPolicy)
    _require_one_of("surface", options["surface"], Surface)
    empty_distance = implied_empty_distance(options["empty"]) if empty_distance is None else empty_distance
    _require_one_of("empty_distance", empty_distance, EmptyDistance)
    choose_metrics(options["metrics"], empty_distance, options["surface"])
    if options["workers"] < 0:
        raise ConfigError(f"workers: must not be negative, got {options['workers']}")
    return Options(empty_distance=empty_distance, **options)


def _require_one_of(name: str, value: str, values: Any) -> None:
    if value not in get_args(values):
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(get_args(values))}")
