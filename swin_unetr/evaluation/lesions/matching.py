"""Scores by lesion: which were found, missed and invented, and how well the found ones were outlined.

`lesion_rules` says what a lesion is and when it counts as found. All work is done in the bounding box of both masks,
and each lesion's surface in its own box; one table of counts shows which lesions overlap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure, label
from scipy.optimize import linear_sum_assignment

from swin_unetr.evaluation.lesions.rules import LesionRules
from swin_unetr.evaluation.measures.label_boxes import Cut
from swin_unetr.evaluation.measures.surfaces import distances_by_area, distances_by_voxels

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer[Any]]
Slices = tuple[slice, ...]

#: "small": a lesion of the reference that the rules do not score, whether it was found or not.
LesionStatus = Literal["found", "missed", "invented", "small"]

_NEIGHBOURS_18 = generate_binary_structure(3, 2)
_NEIGHBOURS_26 = generate_binary_structure(3, 3)
#: Dice above which two lesions may be a pair: any overlap (the threshold of brats-evaluation's settings).
_LEAST_DICE = 1e-6
#: A distance that differs from the tolerance by rounding alone is within it.
_ROUNDING = 1 + 1e-6


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """One lesion of the reference, with what was predicted for it, or an invented one."""

    status: LesionStatus
    #: Middle of its bounding box in mm, RAS+ world.
    centre_mm: tuple[float, float, float]
    #: Its volume; 0 for an invented lesion.
    reference_ml: float
    #: Volume of all predicted lesions that it is compared with; 0 for a missed one.
    predicted_ml: float
    dice: float
    hd95_mm: float
    #: One value for each tolerance of the rules, in their order.
    nsd: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LesionScores:
    """The lesions of one structure in one case, and the scores of the case."""

    #: Those of the reference first; then the invented ones.
    lesions: tuple[Lesion, ...]
    dice: float
    hd95_mm: float
    #: One value for each tolerance of the rules, in their order.
    nsd: tuple[float, ...]

    def count(self, status: LesionStatus) -> int:
        """Number of lesions of a status."""
        return sum(lesion.status == status for lesion in self.lesions)


@dataclass(frozen=True)
class _Lesions:
    """The lesions of a mask by number from 1."""

    labels: Labels
    #: The same, with the dilation by which they are joined.
    zones: Labels
    count: int


def lesion_scores(
    prediction: Mask,
    reference: Mask,
    affine: NDArray[np.float64],
    rules: LesionRules,
    cores: tuple[Mask, Mask] | None = None,
) -> LesionScores:
    """Compare two masks lesion by lesion.

    Args:
        prediction: mask (X,Y,Z).
        reference: mask (X,Y,Z) on the same grid.
        affine: voxel indices -> mm, (4,4).
        rules: what counts; of this structure (`LesionRules.of`).
        cores: necrotic core (X,Y,Z) of prediction and reference, for rules with a `core_dilation`.
    """
    masks = [prediction, reference, *(cores or ())]
    box = bounding_box(masks, margin=max(rules.dilation, rules.core_dilation or 0))
    if box is None:
        return _summary((), rules)
    prediction, reference, *within = (mask[box] for mask in masks)
    found = _lesions(prediction, rules.dilation if rules.join_predictions else 0)
    if rules.drop_small_predictions:
        found = _without_small(found, rules.small_mm3)
    known = _lesions(reference, rules.dilation)
    if rules.core_dilation is not None and within:
        core = _without_small(_lesions(within[0], rules.core_dilation), rules.core_small_voxels)
        found, known = _joined(found, core), _joined(known, _lesions(within[1], rules.core_dilation))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return _summary(tuple(_Comparison(found, known, moved, rules).lesions()), rules)


class _Comparison:
    """Predicted and reference lesions on one grid."""

    def __init__(self, found: _Lesions, known: _Lesions, affine: NDArray[np.float64], rules: LesionRules) -> None:
        self._found, self._known, self._affine, self._rules = found, known, affine, rules
        self._spacing = tuple(float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
        self._voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
        #: Voxels by reference lesion (rows) and predicted lesion (columns); 0 is none.
        self._voxels = _joint_counts(known.labels, found.labels, known.count, found.count)
        self._boxes = [*find_objects(known.labels, known.count)], [*find_objects(found.labels, found.count)]

    def lesions(self) -> Iterator[Lesion]:
        """Every lesion of the reference, then the invented ones."""
        partners = self._partners()
        for number, of in enumerate(partners, 1):
            yield self._lesion(number, of)
        matched = {number for of in partners for number in of}
        for number in range(1, self._found.count + 1):
            if number not in matched:
                yield self._without_partner("invented", number)

    def _partners(self) -> list[tuple[int, ...]]:
        """For every lesion of the reference, the predicted lesions that it is compared with."""
        if self._rules.matching == "one_to_one":
            return self._assignment()
        reached = _joint_counts(self._known.zones, self._found.labels, self._known.count, self._found.count)
        return [tuple(int(column) + 1 for column in np.flatnonzero(row[1:])) for row in reached[1:]]

    def _assignment(self) -> list[tuple[int, ...]]:
        both = self._voxels[1:, 1:]
        sizes = self._voxels.sum(axis=1)[1:, None] + self._voxels.sum(axis=0)[None, 1:]
        dice = 2 * both / sizes if both.size else np.zeros(both.shape)
        # Costs more than any pair that overlaps, so that a lesion stays alone only if no such pair is left.
        cost = np.where(dice > _LEAST_DICE, 1 - dice, 1 + _LEAST_DICE)
        partners: list[tuple[int, ...]] = [()] * self._known.count
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if cost[row, column] < 1:
                partners[row] = (int(column) + 1,)
        return partners

    def _lesion(self, number: int, partners: Sequence[int]) -> Lesion:
        voxels = int(self._voxels[number].sum())
        small = voxels * self._voxel_ml * 1000 <= self._rules.small_mm3
        if not partners:
            return self._without_partner("small" if small else "missed", number)
        columns = list(partners)
        predicted = int(self._voxels[:, columns].sum())
        box = _union([self._boxes[0][number - 1], *(self._boxes[1][column - 1] for column in columns)])
        masks = np.isin(self._found.labels[box], columns), self._known.labels[box] == number
        hd95_mm, nsd = self._distances(*masks)
        return Lesion(
            status="small" if small else "found",
            centre_mm=self._centre(self._boxes[0][number - 1]),
            reference_ml=voxels * self._voxel_ml,
            predicted_ml=predicted * self._voxel_ml,
            dice=2 * int(self._voxels[number, columns].sum()) / (voxels + predicted),
            hd95_mm=hd95_mm,
            nsd=nsd,
        )

    def _without_partner(self, status: LesionStatus, number: int) -> Lesion:
        invented = status == "invented"
        voxels = int(self._voxels[:, number].sum() if invented else self._voxels[number].sum())
        return Lesion(
            status=status,
            centre_mm=self._centre(self._boxes[invented][number - 1]),
            reference_ml=0.0 if invented else voxels * self._voxel_ml,
            predicted_ml=voxels * self._voxel_ml if invented else 0.0,
            dice=0.0,
            hd95_mm=self._rules.penalty_mm,
            nsd=(0.0,) * len(self._rules.tolerances_mm),
        )

    def _distances(self, prediction: Mask, reference: Mask) -> tuple[float, tuple[float, ...]]:
        """HD95 in mm and the normalised surface Dice at every tolerance, of two masks that are not empty."""
        tolerances = [min(self._spacing) if mm is None else mm for mm in self._rules.tolerances_mm]
        if self._rules.surface == "voxels":
            return pooled_distances(prediction, reference, self._affine, tolerances)
        nsd = pooled_distances(prediction, reference, self._affine, tolerances)[1] if tolerances else ()
        return hd95_by_area(prediction, reference, self._affine), nsd

    def _centre(self, box: Slices) -> tuple[float, float, float]:
        x, y, z = self._affine[:3, :3] @ [(side.start + side.stop - 1) / 2 for side in box] + self._affine[:3, 3]
        return float(x), float(y), float(z)


def hd95_by_area(prediction: Mask, reference: Mask, affine: NDArray[np.float64]) -> float:
    """HD95 in mm as DeepMind defines it, of two masks (X,Y,Z) that are not empty."""
    distances = distances_by_area(_as_cut(prediction), _as_cut(reference), affine)
    assert distances is not None
    return distances.hausdorff(95)


def pooled_distances(
    prediction: Mask, reference: Mask, affine: NDArray[np.float64], tolerances: Sequence[float]
) -> tuple[float, tuple[float, ...]]:
    """HD95 and normalised surface Dice as panoptica defines them, of two masks (X,Y,Z) that are not empty.

    HD95 is the percentile of the distances of both surfaces' voxels together, not the larger one of the two sides';
    NSD is the mean of both surfaces' shares within the tolerance, not the share of both together (that of nnU-Net v1
    and of the BraTS scripts of 2024 too). This report's own metrics are the others (`surfaces`).
    """
    distances = distances_by_voxels(_as_cut(prediction), _as_cut(reference), affine)
    assert distances is not None
    sides = distances.to_reference, distances.to_prediction
    shares = [float(np.mean([np.mean(side <= tolerance * _ROUNDING) for side in sides])) for tolerance in tolerances]
    return float(np.percentile(np.concatenate(sides), 95)), tuple(shares)


def _as_cut(mask: Mask) -> Cut:
    return Cut(mask, np.zeros(3, dtype=np.int64))


def without_small_lesions(prediction: Mask, rules: LesionRules) -> Mask:
    """The prediction (X,Y,Z) without the lesions that the rules remove beforehand."""
    box = bounding_box([prediction], rules.dilation)
    if not rules.drop_small_predictions or box is None:
        return prediction
    kept = np.zeros_like(prediction)
    dilation = rules.dilation if rules.join_predictions else 0
    kept[box] = _without_small(_lesions(prediction[box], dilation), rules.small_mm3).labels > 0
    return kept


def _summary(lesions: tuple[Lesion, ...], rules: LesionRules) -> LesionScores:
    """The scores of a case: what its lesions mean, by the rules."""
    counted = [lesion for lesion in lesions if lesion.status == "found"]
    others = [lesion for lesion in lesions if lesion.status in ("missed", "invented")]
    if rules.mean_of == "all":
        counted, others = counted + others, []
    if counted:
        means = np.mean([(lesion.dice, lesion.hd95_mm, *lesion.nsd) for lesion in counted], axis=0)
        dice, hd95_mm, *nsd = (float(mean) for mean in means)
    elif others:
        dice, hd95_mm, nsd = 0.0, rules.penalty_mm, [0.0] * len(rules.tolerances_mm)
    else:
        # Nothing there and nothing to be scored: right by the rules of 2023 and 2024, undefined by the later ones.
        right, none = (1.0, 0.0) if rules.mean_of == "all" else (math.nan, math.nan)
        dice, hd95_mm, nsd = right, none, [right] * len(rules.tolerances_mm)
    return LesionScores(lesions=lesions, dice=dice, hd95_mm=hd95_mm, nsd=tuple(nsd))


def _lesions(mask: Mask, dilation: int) -> _Lesions:
    """Number the lesions of a mask; those whose dilations are connected are one."""
    # SciPy would take 0 iterations as "repeat until nothing changes".
    zone = binary_dilation(mask, _NEIGHBOURS_18, iterations=dilation) if dilation else mask
    zones, count = label(zone, _NEIGHBOURS_26)
    return _Lesions(np.where(mask, zones, 0) if dilation else zones, zones, count)


def _without_small(lesions: _Lesions, voxels: float) -> _Lesions:
    """Without lesions of up to this number of voxels."""
    keep = np.bincount(lesions.labels.ravel(), minlength=lesions.count + 1) > voxels
    return _renumbered(lesions, np.where(keep, np.arange(lesions.count + 1), 0))


def _joined(lesions: _Lesions, cores: _Lesions) -> _Lesions:
    """Make lesions that touch the same core, by one of 18 neighbours, one lesion.

    As the scripts of 2024 do it: a lesion that touches several cores goes with the first, and where only one lesion
    touches a core nothing happens.
    """
    padded = np.pad(cores.labels, 1)
    where = np.argwhere(lesions.labels)
    own = lesions.labels[tuple(where.T)]
    touched = [padded[tuple((where + offset).T)] for offset in np.argwhere(_NEIGHBOURS_18)]
    pairs = {(int(a), int(b)) for core in touched for a, b in np.unique(np.stack([own, core], 1)[core > 0], axis=0)}
    numbers = np.arange(lesions.count + 1)
    for lesion, core in sorted(pairs, reverse=True):
        numbers[lesion] = lesions.count + core
    return _renumbered(lesions, numbers) if len(pairs) > 1 else lesions


def _renumbered(lesions: _Lesions, numbers: NDArray[np.integer[Any]]) -> _Lesions:
    """Give the lesions other numbers (by their number; 0 stays 0), the same one to several, none left out."""
    kept, compact = np.unique(np.append(0, numbers[1:]), return_inverse=True)
    return _Lesions(compact[lesions.labels], compact[lesions.zones], len(kept) - 1)


def _joint_counts(rows: Labels, columns: Labels, row_count: int, column_count: int) -> NDArray[np.int64]:
    """Voxels by both labels, (1 + row_count, 1 + column_count); those with neither are not counted."""
    shape = row_count + 1, column_count + 1
    some = (rows != 0) | (columns != 0)
    codes = rows[some].astype(np.int64) * shape[1] + columns[some]
    counts: NDArray[np.int64] = np.bincount(codes, minlength=shape[0] * shape[1]).reshape(shape)
    return counts


def bounding_box(masks: Sequence[Mask], margin: int = 0) -> Slices | None:
    """The box of all masks together and a margin, as far as the scan goes; None where all are empty."""
    together = masks[0].copy()
    for mask in masks[1:]:
        together |= mask
    sides = []
    for axis in range(together.ndim):
        occupied = np.flatnonzero(together.any(axis=tuple(other for other in range(together.ndim) if other != axis)))
        if not occupied.size:
            return None
        sides.append(slice(max(int(occupied[0]) - margin, 0), int(occupied[-1]) + 1 + margin))
    return tuple(sides)


def _union(boxes: Sequence[Slices]) -> Slices:
    return tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes, strict=True))
