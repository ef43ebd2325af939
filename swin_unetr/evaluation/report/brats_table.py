"""The columns of the official BraTS evaluations, by their names: `brats.csv`.

- 2023 and 2024: the file of scores that Synapse gave to the teams (`evaluation/lesionwise/score.py` of
  github.com/Sage-Bionetworks-Challenges/brats-infra): `LesionWise_Dice_ET` and so on.
- 2025 on: what `brats-parse-metrics seg` of the PyPI package `brats-evaluation` 0.0.10 writes.

The values are theirs too, where they differ from this report's: whole-structure distances of 2025 are in voxels, not
in millimetres, with a tolerance of half a voxel, and are the penalty where no voxel is right; lesion-wise ones are in
millimetres. With one exception: the scripts of 2024 compute sensitivity, specificity and the whole HD95 from arrays of
lesion numbers as if they were masks, which is wrong for several lesions; here masks are used.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from swin_unetr.evaluation.lesions.matching import (
    LesionScores,
    bounding_box,
    hd95_by_area,
    pooled_distances,
    without_small_lesions,
)
from swin_unetr.evaluation.lesions.rules import LesionRules
from swin_unetr.evaluation.measures.overlap import Overlap, dice, sensitivity, specificity

#: Regions in the order of the columns.
REGIONS = ("ET", "TC", "WT")

#: HD95 that the package of 2025 writes for infinity: "diameter of the cube in SRI space".
_PENALTY_2025 = 373.0


def official_scores(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    affine: NDArray[np.float64],
    rules: LesionRules,
    scores: LesionScores,
    total: int | None = None,
) -> dict[str, float]:
    """The official numbers of one region of one case, by the stem of their column.

    Args:
        prediction: mask (X,Y,Z).
        reference: mask (X,Y,Z) on the same grid.
        affine: voxel indices -> mm, (4,4).
        rules: of the evaluation.
        scores: what `lesion_scores` gave for these masks and rules.
        total: voxels of the scan, if the masks are cut out of it.
    """
    prediction = without_small_lesions(prediction, rules)
    both = int(np.count_nonzero(prediction & reference))
    overlap = Overlap(
        intersection=both,
        prediction_only=int(np.count_nonzero(prediction)) - both,
        reference_only=int(np.count_nonzero(reference)) - both,
        total=reference.size if total is None else total,
    )
    whole = _whole_2025 if rules.year == 2025 else _whole_2023
    box = bounding_box([prediction, reference]) or (slice(0, 0),) * 3
    return whole(prediction[box], reference[box], affine, rules, overlap, scores)


def brats_csv(cases: Mapping[str, Mapping[str, Mapping[str, float]]], failed: Sequence[str], rules: LesionRules) -> str:
    """The text of `brats.csv`: one line per case.

    Args:
        cases: what `official_scores` gave, by case and region.
        failed: cases without scores. The package of 2025 gives them 0, and 373 for HD95; the others leave them out,
            so their cells are empty.
        rules: of the evaluation.
    """
    stems = list(dict.fromkeys(stem for regions in cases.values() for scores in regions.values() for stem in scores))
    if rules.year == 2025:
        key, columns = "subject_id", [(stem, region) for region in REGIONS for stem in stems]
    else:
        key, columns = "scan_id", [(stem, region) for stem in stems for region in REGIONS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([key, *(_column(stem, region, rules) for stem, region in columns)])
    for case in sorted([*cases, *failed]):
        values = [
            cases[case][region].get(stem, math.nan) if case in cases else _of_failure(stem, rules)
            for stem, region in columns
        ]
        writer.writerow([case, *("" if math.isnan(value) else value for value in values)])
    return text.getvalue()


def _column(stem: str, region: str, rules: LesionRules) -> str:
    return f"{stem}_{region.lower() if rules.year == 2025 else region}"


def _of_failure(stem: str, rules: LesionRules) -> float:
    if rules.year != 2025:
        return math.nan
    return _PENALTY_2025 if "hd95" in stem and "std" not in stem else 0.0


Whole = Callable[
    [NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64], LesionRules, Overlap, LesionScores], dict[str, float]
]


def _whole_2025(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    affine: NDArray[np.float64],
    rules: LesionRules,
    overlap: Overlap,
    scores: LesionScores,
) -> dict[str, float]:
    found, missed, invented = (scores.count(status) for status in ("found", "missed", "invented"))
    hd95, nsd = (math.nan, math.nan) if overlap.both_empty else (_PENALTY_2025, 0.0)
    if overlap.intersection:
        hd95, (nsd,) = pooled_distances(prediction, reference, np.eye(4), (0.5,))
    lesions = [lesion for lesion in scores.lesions if lesion.status == "found"]

    def spread(values: Sequence[float]) -> float:
        return float(np.std(values)) if values else math.nan

    return {
        "all_instance_tp": found,
        "all_instance_fp": invented,
        "all_instance_fn": missed,
        "all_instance_prec": found / (found + invented) if found + invented else math.nan,
        "all_instance_rec": found / (found + missed) if found + missed else math.nan,
        "all_instance_f1": 2 * found / (2 * found + invented + missed) if lesions or invented or missed else math.nan,
        "global_dsc": dice(overlap),
        "global_nsd": nsd,
        "global_hd95": hd95,
        "lesionwise_dsc_mean": scores.dice,
        "lesionwise_dsc_std": spread([lesion.dice for lesion in lesions]),
        "lesionwise_nsd_mean": scores.nsd[0],
        "lesionwise_nsd_std": spread([lesion.nsd[0] for lesion in lesions]),
        "lesionwise_hd95_mean": scores.hd95_mm,
        "lesionwise_hd95_std": spread([lesion.hd95_mm for lesion in lesions]),
    }


def _whole_2023(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    affine: NDArray[np.float64],
    rules: LesionRules,
    overlap: Overlap,
    scores: LesionScores,
) -> dict[str, float]:
    tolerances = tuple(mm for mm in rules.tolerances_mm if mm is not None)
    hd95_mm, nsd = (
        (0.0, (1.0,) * len(tolerances)) if overlap.both_empty else (rules.penalty_mm, (0.0,) * len(tolerances))
    )
    if overlap.prediction and overlap.reference:
        hd95_mm = hd95_by_area(prediction, reference, affine)
        nsd = pooled_distances(prediction, reference, affine, tolerances)[1] if tolerances else ()
    by_tolerance = sorted(zip(tolerances, scores.nsd, nsd, strict=True))
    return {
        "LesionWise_Dice": scores.dice,
        **{f"LesionWise_NSD_{mm:.1f}": of_lesions for mm, of_lesions, _ in by_tolerance},
        "LesionWise_Hausdorff95": scores.hd95_mm,
        "Dice": dice(overlap, "brats"),
        **{f"NSD_{mm:.1f}": of_whole for mm, _, of_whole in by_tolerance},
        "Hausdorff95": hd95_mm,
        "Sensitivity": sensitivity(overlap, "brats"),
        "Specificity": specificity(overlap, "brats"),
        "Num_TP": scores.count("found"),
        "Num_FP": scores.count("invented"),
        "Num_FN": scores.count("missed"),
    }
