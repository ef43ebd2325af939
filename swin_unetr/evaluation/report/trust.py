"""What was said about how sure each result is, against what the evaluation found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from swin_unetr.evaluation.report.results import EvaluationResult
from swin_unetr.evaluation.statistics import mean_defined
from swin_unetr.trust.curves import POOR, aurc, auroc, poor_cases, poor_left, reliability, risk_coverage
from swin_unetr.trust.decision import Trust, triage_order, trust_from

#: Bins of the reliability diagram, and fewest cases for curves.
_BINS, _LEAST = 5, 5


def read_trust(result: EvaluationResult) -> dict[str, Trust]:
    """The trust in the records beside the predictions, by case; empty where `predict` wrote none."""
    found = {}
    for case in result.evaluated:
        prediction = Path(str(result.files[case]["prediction"]))
        record = prediction.with_name(f"{prediction.name.removesuffix('.gz').removesuffix('.nii')}.json")
        try:
            found[case] = trust_from(json.loads(record.read_text(encoding="utf-8"))["trust"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def trust_report(result: EvaluationResult) -> dict[str, Any] | None:
    """Predicted against true Dice and the curves of it, as plain values; None where nothing was said of any case."""
    trust = read_trust(result)
    if not trust or not any(metric.name == "dice" for metric in result.metrics):
        return None
    dice = {(row.case, row.structure): row.value for row in result.rows if row.metric == "dice"}
    names = [target.name for target in result.reference_task.targets]
    true = {case: mean_defined([dice.get((case, name), math.nan) for name in names]) for case in trust}
    points: list[dict[str, Any]] = [
        {"case": case, "structure": name, "predicted": known.predicted_dice, "bound": known.dice_bound,
         "true": dice.get((case, name), math.nan)}
        for case, of in trust.items()
        for name, known in of.structures.items()
        if known.predicted_dice is not None and not math.isnan(dice.get((case, name), math.nan))
    ]  # fmt: skip
    judged = [case for case, of in trust.items() if of.predicted_dice is not None and not math.isnan(true[case])]
    held = [point["true"] >= point["bound"] for point in points]
    return {
        "decisions": {case: {"decision": of.decision, "reasons": list(of.reasons)} for case, of in trust.items()},
        "points": points,
        "bounds": len(held),
        "bounds_held": sum(held),
        "confidence": next((of.confidence for of in trust.values() if of.confidence is not None), None),
        "poor_share": POOR,
        **(_curves({case: trust[case] for case in judged}, true) if len(judged) >= _LEAST else {}),
    }


def _curves(trust: dict[str, Trust], true: dict[str, float]) -> dict[str, Any]:
    cases = sorted(trust)
    dice = np.array([true[case] for case in cases])
    predicted = np.array([trust[case].predicted_dice for case in cases], np.float64)
    order = np.array([cases.index(case) for case in triage_order(trust)])
    poor, risk = poor_cases(dice), 1 - dice
    rows, error = reliability(predicted, dice, _BINS)
    spread = len(cases) > 2 and predicted.std() > 0 and dice.std() > 0
    return {
        "cases": len(cases),
        "correlation": float(np.corrcoef(predicted, dice)[0, 1]) if spread else math.nan,
        "mean_absolute_error": float(np.abs(predicted - dice).mean()),
        "aurc": aurc(predicted, risk),
        "aurc_best": aurc(dice, risk),
        "aurc_random": float(risk.mean()),
        "auroc": auroc(-predicted, poor),
        "ece": error,
        "risk": risk_coverage(predicted, risk).tolist(),
        "risk_best": risk_coverage(dice, risk).tolist(),
        "reliability": rows,
        "poor": int(poor.sum()),
        "poor_left": poor_left(order, poor).tolist(),
    }
