"""The metrics that a report holds, as a table: a further metric is a further line here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.lesions.cases import StructureLesions
from swin_unetr.evaluation.lesions.matching import LesionScores
from swin_unetr.evaluation.lesions.rules import LesionRules
from swin_unetr.evaluation.measures.distances import PENALTY_MM, Distances, EmptyDistance, Surface
from swin_unetr.evaluation.measures.overlap import EmptyPolicy, Overlap, dice, iou, precision, sensitivity, specificity

Kind = Literal["overlap", "surface", "lesion"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All that is known of one structure of one case."""

    overlap: Overlap
    #: Volume of a voxel in millilitres.
    voxel_ml: float
    #: If None, no surface metric was asked for.
    distances: Distances | None
    empty: EmptyPolicy
    #: If None, no lesions were asked for.
    lesions: StructureLesions | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number for one structure of one case."""

    #: Key in the files of results; ends with the unit where there is one, as `_mm`.
    name: str
    #: Name in tables for people.
    title: str
    #: Computes it from what is known of the two masks.
    measure: Callable[[Compared], float]
    #: What a case that failed counts as, in the mean over all cases that were asked for.
    value_of_failure: float
    #: What it is and whose definition, in one sentence.
    definition: str = ""
    kind: Kind = "overlap"
    #: Whether the lowest values are the worst.
    higher_is_better: bool = True
    #: The largest value that there can be: 1 for shares; distances, volumes and counts have no bound.
    highest: float = 1.0


def _of_overlap(name: str, title: str, measure: Callable[[Overlap, EmptyPolicy], float], definition: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        measure=lambda compared: measure(compared.overlap, compared.empty),
        value_of_failure=0.0,
        definition=definition,
    )


def _of_distances(name: str, title: str, value: Callable[[Distances], float], definition: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        measure=lambda compared: math.nan if compared.distances is None else value(compared.distances),
        value_of_failure=0.0 if name == "nsd" else math.inf,
        definition=definition,
        kind="surface",
        higher_is_better=name == "nsd",
        highest=1.0 if name == "nsd" else math.inf,
    )


def _of_lesions(
    name: str, title: str, value: Callable[[LesionScores], float], definition: str, *, higher_is_better: bool
) -> Metric:
    return Metric(
        name=name,
        title=title,
        measure=lambda compared: math.nan if compared.lesions is None else float(value(compared.lesions.scores)),
        value_of_failure=0.0 if higher_is_better else math.inf,
        definition=definition,
        kind="lesion",
        higher_is_better=higher_is_better,
        highest=math.inf if name.endswith("_mm") or name.startswith("lesions_") else 1.0,
    )


def _volume_difference(compared: Compared) -> float:
    overlap = compared.overlap
    if overlap.both_empty:
        return 0.0 if compared.empty == "brats" else math.nan
    return abs(overlap.prediction - overlap.reference) * compared.voxel_ml


DICE = _of_overlap("dice", "Dice", dice, "2|P∩R| / (|P| + |R|) (Dice 1945)")

#: All metrics, in the order of the reports.
METRICS: tuple[Metric, ...] = (
    DICE,
    _of_overlap("iou", "IoU", iou, "|P∩R| / |P∪R| (Jaccard 1912)"),
    _of_overlap("sensitivity", "Sensitivity", sensitivity, "|P∩R| / |R|"),
    _of_overlap("precision", "Precision", precision, "|P∩R| / |P|"),
    _of_overlap("specificity", "Specificity", specificity, "the share of the scan outside R that is outside P"),
    Metric(
        name="volume_difference_ml",
        title="Volume difference (ml)",
        measure=_volume_difference,
        value_of_failure=math.inf,
        definition="absolute difference of the volumes; both are given beside it",
        higher_is_better=False,
        highest=math.inf,
    ),
    _of_distances(
        "hd_mm", "Hausdorff (mm)", lambda d: d.hd_mm, "the larger of the two directed distances (Huttenlocher 1993)"
    ),
    _of_distances(
        "hd95_mm",
        "HD95 (mm)",
        lambda d: d.hd95_mm,
        "the larger of the 95th percentiles of the two directed distances (as MONAI's HausdorffDistanceMetric)",
    ),
    _of_distances(
        "assd_mm", "ASSD (mm)", lambda d: d.assd_mm, "mean distance of both surfaces together (Heimann 2009)"
    ),
    _of_distances(
        "nsd",
        "NSD",
        lambda d: d.nsd,
        "share of both surfaces' voxels within the tolerance of the other one (Nikolov 2018, as MONAI's "
        "SurfaceDiceMetric)",
    ),
    _of_lesions("lesion_dice", "Lesion Dice", lambda of: of.dice, "mean Dice of lesions", higher_is_better=True),
    _of_lesions(
        "lesion_hd95_mm", "Lesion HD95 (mm)", lambda of: of.hd95_mm, "mean HD95 of lesions", higher_is_better=False
    ),
    _of_lesions(
        "lesion_nsd",
        "Lesion NSD",
        lambda of: of.nsd[0] if of.nsd else math.nan,
        "mean normalised surface Dice of lesions",
        higher_is_better=True,
    ),
    _of_lesions(
        "lesions_found",
        "Lesions found",
        lambda of: of.count("found"),
        "lesions of the reference for which something was predicted",
        higher_is_better=True,
    ),
    _of_lesions(
        "lesions_missed",
        "Lesions missed",
        lambda of: of.count("missed"),
        "lesions of the reference for which nothing was predicted",
        higher_is_better=False,
    ),
    _of_lesions(
        "lesions_invented",
        "Lesions invented",
        lambda of: of.count("invented"),
        "predicted lesions that match no lesion of the reference",
        higher_is_better=False,
    ),
)


#: What is defined otherwise where surfaces are weighted by their area.
_BY_AREA = {
    "hd_mm": "the larger of the two directed distances, between surface elements (Huttenlocher 1993)",
    "hd95_mm": "the larger of the two directed distances that 95 % of the surface's area keep to (DeepMind's "
    "surface-distance)",
    "assd_mm": "mean distance of both surfaces together, weighted by area (Heimann 2009)",
    "nsd": "share of both surfaces' area within the tolerance of the other one (Nikolov 2018, DeepMind's "
    "surface-distance)",
}


def choose_metrics(
    names: Collection[str] | None,
    empty_distance: EmptyDistance | None,
    surface: Surface = "voxels",
    lesions: LesionRules | None = None,
) -> tuple[Metric, ...]:
    """The metrics of these names, in the table's order; failures count as the policy says.

    Without names these are all, those of lesions where there are rules for them.

    Raises:
        ConfigError: a name that no metric has.
    """
    known = [metric.name for metric in METRICS]
    if names is not None and (unknown := [name for name in names if name not in known]):
        raise ConfigError(f"metrics: {unknown[0]!r} is not one of {', '.join(known)}")
    chosen = [metric for metric in METRICS if (_has_value(metric, lesions) if names is None else metric.name in names)]
    return tuple(_by_policy(metric, empty_distance, surface, lesions) for metric in chosen)


def wants_lesions(names: Collection[str] | None) -> bool:
    """Whether one of the metrics of these names is of lesions. If None, all metrics count."""
    return names is None or any(metric.kind == "lesion" for metric in METRICS if metric.name in names)


def _has_value(metric: Metric, lesions: LesionRules | None) -> bool:
    """Whether the rules give a metric; those of 2023 have no surface Dice."""
    if metric.kind != "lesion":
        return True
    return lesions is not None and (metric.name != "lesion_nsd" or bool(lesions.tolerances_mm))


def _by_policy(
    metric: Metric, empty_distance: EmptyDistance | None, surface: Surface, lesions: LesionRules | None
) -> Metric:
    if metric.kind == "lesion":
        if lesions is not None and metric.name.endswith("_mm"):
            metric = dataclasses.replace(metric, value_of_failure=lesions.penalty_mm)
        rules = "" if lesions is None else f" (rules {lesions.name})"
        return dataclasses.replace(metric, definition=metric.definition + rules)
    if metric.name.endswith("_mm") and empty_distance == "penalty":
        metric = dataclasses.replace(metric, value_of_failure=PENALTY_MM)
    if surface == "area" and metric.name in _BY_AREA:
        metric = dataclasses.replace(metric, definition=_BY_AREA[metric.name])
    return metric
