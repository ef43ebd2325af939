"""From the signals of a case and what they were worth before to a decision, with its reasons in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from swin_unetr.trust.calibration import LEAST_CASES, Calibration, StructureCalibration
from swin_unetr.trust.conformal import joint_tail_share, tail_share
from swin_unetr.trust.fit import missing, risks_of
from swin_unetr.trust.signals import CaseSignals, StructureSignals, row_of

Decision = Literal["accept", "review", "reject"]
#: From the most to the least urgent.
DECISIONS: tuple[Decision, ...] = ("reject", "review", "accept")
#: A risk this many times as far from the median of the good cases as the worst of them is beyond all experience.
_BEYOND = 2.0
#: How the distances are called.
_WORDS = {"mahalanobis": "Mahalanobis distance", "nearest": "distance to the nearest training scans"}


@dataclass(frozen=True, kw_only=True)
class StructureTrust:
    """What is to be expected of one structure."""

    volume_ml: float
    components: int
    #: Predicted Dice and its lower bound; None where no regression could be fitted, or it was not found.
    predicted_dice: float | None = None
    dice_bound: float | None = None
    #: Interval of the true volume; None if too few cases say anything.
    volume_interval_ml: tuple[float, float] | None = None
    signals: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How sure the result of a case is."""

    #: None without a calibration, unless the scan is of another kind than those of training.
    decision: Decision | None
    reasons: tuple[str, ...]
    #: Mean over the structures that have one.
    predicted_dice: float | None
    #: How rarely a good case is as extreme, 0 to 1: a conformal p-value; None without a calibration.
    alarm: float | None
    structures: Mapping[str, StructureTrust]
    #: Distances of the features to the training scans, of each member.
    distances: tuple[Mapping[str, float], ...] = ()
    compared: str | None = None
    #: 1 minus the probability that a bound or an interval does not hold; None without a calibration.
    confidence: float | None = None

    def facts(self) -> dict[str, Any]:
        """As it is written into the record of a case."""
        return asdict(self)


def trust_from(values: Mapping[str, Any]) -> Trust:
    """What `Trust.facts` gave, read back from JSON."""
    structures = {name: StructureTrust(**of) for name, of in values["structures"].items()}
    lists = {"reasons": tuple(values["reasons"]), "distances": tuple(values["distances"])}
    return Trust(**{**values, **lists, "structures": structures})


def decide(
    signals: CaseSignals, calibrations: Sequence[Calibration | None], odd: Sequence[str], notes: Sequence[str] = ()
) -> Trust:
    """Judge a case.

    Args:
        signals: of the case.
        calibrations: of each member of the ensemble, in its order. The first one's regression counts; each member's
            features are compared with its own training scans, and their medians count.
        odd: in words, how the scan differs in kind from those of training; it is rejected for that.
        notes: further reasons, which decide nothing.
    """
    known = [each for each in calibrations if each is not None]
    first = known[0] if known else None
    each_distance = tuple(
        {} if of is None else of.distances_of(features)
        for of, features in zip(calibrations, signals.features, strict=True)
    )
    distances = _median(each_distance)
    structures = {name: _structure(name, of, first, distances) for name, of in signals.structures.items()}
    predicted = {name: of.predicted_dice for name, of in structures.items() if of.predicted_dice is not None}
    decision: Decision | None = "reject" if odd else None
    reasons, alarm = [*odd], None
    if first is not None:
        absent = missing(signals, first.structures)
        predicted |= absent
        reasons += [
            f"{name} was not found; {first.structures[name].present:.0%} of the cases had it" for name in absent
        ]
        risks = risks_of(predicted, first.structures, distances)
        judged = _judge(first, risks)
        if judged is not None:
            by_risks, alarm = judged
            disagreeing = _disagreeing(signals, first)
            if disagreeing and by_risks == "accept":
                by_risks = "review"
            if not odd:
                decision = by_risks
            reasons += disagreeing
            if by_risks != "accept":
                reasons += _in_words(structures, first, distances, risks)
        reasons += [] if first.decides else [_too_few(first)]
    return Trust(
        decision=decision,
        reasons=(*dict.fromkeys(reasons), *notes),
        predicted_dice=float(np.mean([*predicted.values()])) if predicted else None,
        alarm=alarm,
        structures=structures,
        distances=each_distance,
        compared=signals.compared,
        confidence=None if first is None else 1 - first.miss,
    )


def _median(members: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for each in members for name in each)
    return {name: float(np.median([each[name] for each in members if name in each])) for name in names}


def _structure(
    name: str, of: StructureSignals, calibration: Calibration | None, distances: Mapping[str, float]
) -> StructureTrust:
    facts = {key: value for key, value in asdict(of).items() if key not in ("voxels", "volume_ml", "components")}
    plain: dict[str, Any] = {"volume_ml": of.volume_ml, "components": of.components, "signals": facts}
    known = None if calibration is None else calibration.structures.get(name)
    if calibration is None or known is None or of.voxels == 0:
        return StructureTrust(**plain)
    low, high = known.volume_ratio
    if low > 0 and math.isfinite(high):
        plain["volume_interval_ml"] = (of.volume_ml * low, of.volume_ml * high)
    row = row_of(of, known.signals, distances)
    if known.regression is not None and row is not None:
        predicted, bound = known.regression.predict(row), known.regression.lower_bound(row, calibration.miss)
        plain |= {"predicted_dice": predicted, "dice_bound": bound}
    return StructureTrust(**plain)


def _judge(calibration: Calibration, risks: Mapping[str, float]) -> tuple[Decision, float] | None:
    """The decision by the risks, and how rarely a good case is as extreme; None if nothing can be said."""
    if not calibration.decides or not risks:
        return None
    columns = [index for index, name in enumerate(calibration.risks) if name in risks]
    known = calibration.known_risks[:, columns]
    value = np.array([risks[calibration.risks[index]] for index in columns])
    alarm = joint_tail_share(known, value)
    middle, worst = np.median(known, axis=0), known.max(axis=0)
    if (value > middle + _BEYOND * (worst - middle)).any():
        return "reject", alarm
    return ("review" if alarm <= calibration.false_alarms else "accept"), alarm


def _disagreeing(signals: CaseSignals, calibration: Calibration) -> list[str]:
    """Structures on which several views agree less than a result usually agrees with the truth."""
    found = []
    for name, of in signals.structures.items():
        known = calibration.structures.get(name)
        if of.agreement is not None and known is not None and of.agreement < known.low_dice:
            found.append(f"the {signals.compared} disagree on {name} (pairwise Dice {of.agreement:.2f})")
    return found


def _in_words(
    structures: Mapping[str, StructureTrust],
    calibration: Calibration,
    distances: Mapping[str, float],
    risks: Mapping[str, float],
) -> list[str]:
    """What is unusual about a case."""
    words = []
    for name, called in (("mean", "mean predicted Dice"), ("worst", "predicted Dice of the worst structure")):
        column = calibration.known_risks[:, calibration.risks.index(name)]
        if (share := tail_share(column, risks[name])) <= calibration.false_alarms:
            words.append(f"{called} lower than that of {100 * (1 - share):.0f} % of the good cases")
    for name, value in distances.items():
        share = tail_share(calibration.distances[name], value) if name in calibration.distances else 1.0
        if share <= calibration.false_alarms:
            larger = f"{_WORDS[name]} larger than in {100 * (1 - share):.0f} % of the cases"
            words.append(f"features unlike the training scans ({larger})")
    for name, of in structures.items():
        known = calibration.structures.get(name, StructureCalibration())
        low, high = known.volume_range_ml
        if of.predicted_dice is not None and of.predicted_dice < known.typical_dice - 0.5 * (1 - known.typical_dice):
            words.append(f"{name}: predicted Dice {of.predicted_dice:.2f} (usually {known.typical_dice:.2f})")
        if of.volume_ml and not low <= of.volume_ml <= high:
            usual = f"at least {low:.3g}" if math.isinf(high) else f"{low:.3g} to {high:.3g}"
            words.append(f"{name}: volume {of.volume_ml:.3g} ml (usually {usual} ml)")
    return words or ["several signals are unusual together"]


def _too_few(calibration: Calibration) -> str:
    return (
        f"no predicted Dice and no decision: the model was calibrated on {calibration.cases} cases of "
        f"{calibration.patients} patients, and {LEAST_CASES} are needed"
    )


def triage_order(rows: Mapping[str, Trust]) -> list[str]:
    """Cases, the worst first: by decision, then by how rare it is among good cases, then by the Dice to expect."""

    def key(case: str) -> tuple[int, float, float]:
        of = rows[case]
        rank = DECISIONS.index(of.decision) if of.decision else 1
        return rank, 1.0 if of.alarm is None else of.alarm, _expected(of)

    return sorted(rows, key=lambda case: (*key(case), case))


def _expected(of: Trust) -> float:
    """The predicted Dice, or without a calibration what the probabilities let expect."""
    if of.predicted_dice is not None:
        return of.predicted_dice
    values = [structure.signals.get("expected_dice") for structure in of.structures.values()]
    known = [value for value in values if value is not None and not math.isnan(value)]
    return float(np.mean(known)) if known else 0.0
