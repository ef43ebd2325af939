"""Fits a calibration to cases that a model had not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.trust.calibration import LEAST_CASES, StructureCalibration
from swin_unetr.trust.conformal import high_quantile, low_quantile
from swin_unetr.trust.regression import Regression
from swin_unetr.trust.signals import SIGNALS, CaseSignals, row_of

Array = NDArray[np.float64]

#: A case is poor if its mean Dice is below this share of the median of all cases.
POOR_SHARE = 0.8
#: A structure that this share of the references have counts as missing if it is not found.
USUAL = 0.9


@dataclass(frozen=True, kw_only=True)
class KnownCase:
    """A case whose reference is known."""

    case: str
    patient: str
    signals: CaseSignals
    #: Distances of its features to the training scans of the model that predicted it.
    distances: Mapping[str, float]
    #: By structure, of those that were looked for; NaN if it is in neither label map.
    dice: Mapping[str, float]
    reference_ml: Mapping[str, float]

    @property
    def mean_dice(self) -> float:
        """Over the structures that have one."""
        known = [value for value in self.dice.values() if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan


def fit_structure(name: str, cases: Sequence[KnownCase], miss: float) -> StructureCalibration:
    """What the cases say about one structure."""
    looked_for = [case for case in cases if name in case.dice]
    known = [case for case in looked_for if not math.isnan(case.dice[name])]
    found = [case for case in known if case.signals.structures[name].voxels > 0]
    dice = np.array([case.dice[name] for case in known])
    volumes = np.array([case.reference_ml[name] for case in looked_for if case.reference_ml[name] > 0])
    both = [case for case in found if case.reference_ml[name] > 0]
    ratios = np.array([case.reference_ml[name] / case.signals.structures[name].volume_ml for case in both])
    names = _common_signals(name, found)
    enough = len(found) >= LEAST_CASES and len({case.patient for case in found}) >= LEAST_CASES
    return StructureCalibration(
        signals=names if enough else (),
        regression=_regression(name, found, names) if enough else None,
        cases=len(found),
        typical_dice=float(np.median(dice)) if len(dice) else math.nan,
        low_dice=float(np.clip(low_quantile(dice, miss), 0, 1)) if len(dice) else math.nan,
        present=len(volumes) / len(looked_for) if looked_for else 0.0,
        volume_ratio=_interval(ratios, miss),
        volume_range_ml=_interval(volumes, miss / 5),
    )


def _interval(values: Array, miss: float) -> tuple[float, float]:
    return max(0.0, low_quantile(values, miss / 2)), high_quantile(values, miss / 2)


def _common_signals(name: str, cases: Sequence[KnownCase]) -> tuple[str, ...]:
    """The signals that every case has."""
    names = [*SIGNALS]
    if cases and all(case.signals.structures[name].agreement is not None for case in cases):
        names.append("agreement")
    first = cases[0].distances if cases else {}
    return (*names, *(each for each in first if all(each in case.distances for case in cases)))


def _regression(name: str, cases: Sequence[KnownCase], names: Sequence[str]) -> Regression:
    rows = [row_of(case.signals.structures[name], names, case.distances) for case in cases]
    return Regression.fit(
        np.stack([row for row in rows if row is not None]),
        np.array([case.dice[name] for case in cases]),
        [case.patient for case in cases],
    )


def held_out_predictions(
    cases: Sequence[KnownCase], structures: Mapping[str, StructureCalibration]
) -> list[dict[str, float]]:
    """The Dice that is predicted for each case without its patient, by structure; see `predicted_of`."""
    found: list[dict[str, float]] = [{} for _ in cases]
    for name, of in structures.items():
        if of.regression is None:
            continue
        residuals = iter(of.regression.residuals)
        for case, predicted in zip(cases, found, strict=True):
            if not math.isnan(case.dice.get(name, math.nan)) and case.signals.structures[name].voxels > 0:
                predicted[name] = float(np.clip(case.dice[name] - next(residuals), 0, 1))
    for case, predicted in zip(cases, found, strict=True):
        predicted |= missing(case.signals, structures)
    return found


def missing(signals: CaseSignals, structures: Mapping[str, StructureCalibration]) -> dict[str, float]:
    """A predicted Dice of 0 for each structure that was not found although nearly every reference has it."""
    return {
        name: 0.0
        for name, of in structures.items()
        if of.regression is not None and of.present >= USUAL and signals.structures[name].voxels == 0
    }


def risks_of(
    predicted: Mapping[str, float], structures: Mapping[str, StructureCalibration], distances: Mapping[str, float]
) -> dict[str, float]:
    """The risks of a case, higher is worse; empty if no Dice is predicted.

    "mean": the shortfall of the mean predicted Dice; "worst": the largest shortfall of a structure from its typical
    Dice; and the distances of the features.
    """
    if not predicted:
        return {}
    shortfalls = [structures[name].typical_dice - value for name, value in predicted.items()]
    return {"mean": float(np.mean(shortfalls)), "worst": float(np.max(shortfalls)), **distances}


def known_risks(
    cases: Sequence[KnownCase], structures: Mapping[str, StructureCalibration]
) -> tuple[tuple[str, ...], Array]:
    """Names of the risks, and those of the good cases (cases x risks); empty if there are too few cases."""
    means = np.array([case.mean_dice for case in cases])
    if np.count_nonzero(~np.isnan(means)) < LEAST_CASES:
        return (), np.zeros((0, 0))
    bar = POOR_SHARE * float(np.nanmedian(means))
    rows = [
        risks_of(predicted, structures, case.distances)
        for case, predicted in zip(cases, held_out_predictions(cases, structures), strict=True)
        if case.mean_dice >= bar
    ]
    rows = [row for row in rows if row]
    if not rows:
        return (), np.zeros((0, 0))
    names = tuple(name for name in rows[0] if all(name in row for row in rows))
    return names, np.array([[row[name] for name in names] for row in rows])
