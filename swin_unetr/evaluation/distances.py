"""The surface metrics of the structures of a case, with the policies for masks that are empty."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from swin_unetr.evaluation.cases import Pair
from swin_unetr.evaluation.overlap import EmptyPolicy
from swin_unetr.evaluation.reading import Reading
from swin_unetr.evaluation.surfaces import LabelBoxes, diagonal_mm, surface_distances
from transforms.io import read_labels

#: What a distance is where one of the two masks is empty: infinite, the diagonal of the scan, or `PENALTY_MM`.
EmptyDistance = Literal["inf", "diagonal", "penalty"]

#: The distance that the BraTS challenges give to a missed or invented structure: the diagonal of 240x240x155 voxels.
PENALTY_MM = 374.0

#: Tolerance of the normalised surface Dice in mm, where none is said.
TOLERANCE_MM = 2.0


@dataclass(frozen=True, kw_only=True)
class DistancePolicy:
    """How distances are measured."""

    #: Tolerance of each structure in mm; of those that are not named, `default_tolerance_mm`.
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    default_tolerance_mm: float = TOLERANCE_MM
    empty: EmptyPolicy = "nan"
    empty_distance: EmptyDistance = "inf"

    def tolerance_mm(self, structure: str) -> float:
        """Tolerance of one structure."""
        return self.tolerances_mm.get(structure, self.default_tolerance_mm)

    def in_words(self) -> str:
        """The policy for a report."""
        named = ", ".join(f"{name} {mm:g} mm" for name, mm in self.tolerances_mm.items())
        tolerance = f"{self.default_tolerance_mm:g} mm" + (f" ({named})" if named else "")
        distance = {"inf": "infinite", "diagonal": "the diagonal of the scan", "penalty": f"{PENALTY_MM:g} mm"}
        return (
            f"NSD has a tolerance of {tolerance}. Where one of the two masks is empty, a distance is "
            f"{distance[self.empty_distance]} (policy `{self.empty_distance}`)."
        )


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Surface metrics of one structure of one case; NaN where undefined."""

    hd_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: float


def measure_distances(reading: Reading, policy: DistancePolicy, workers: int) -> dict[tuple[str, str], Distances]:
    """Surface metrics by case and structure. The label files are read again: only now it is known what they mean."""
    pairs = [measurement.pair for measurement in reading.measurements]

    def of_case(pair: Pair) -> dict[tuple[str, str], Distances]:
        return dict(_of_case(pair, reading, policy))

    found: dict[tuple[str, str], Distances] = {}
    for distances in _map(of_case, pairs, workers):
        found |= distances
    return found


def _map(
    function: Callable[[Pair], dict[tuple[str, str], Distances]], pairs: Sequence[Pair], workers: int
) -> Iterator[dict[tuple[str, str], Distances]]:
    if workers <= 1:
        yield from map(function, pairs)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(function, pairs)


def _of_case(pair: Pair, reading: Reading, policy: DistancePolicy) -> Iterator[tuple[tuple[str, str], Distances]]:
    volume = read_labels(pair.reference)
    predicted, reference = LabelBoxes(read_labels(pair.prediction).array[0]), LabelBoxes(volume.array[0])
    affine = volume.geometry.affine
    far = {"inf": math.inf, "diagonal": diagonal_mm(volume.array.shape[1:], affine), "penalty": PENALTY_MM}
    predicted_labels = {target.name: target.labels for target in reading.prediction_task.targets}
    for target in reading.reference_task.targets:
        surfaces = predicted.surface(predicted_labels[target.name]), reference.surface(target.labels)
        distances = surface_distances(*surfaces, affine)
        if distances is not None:
            scores = Distances(
                hd_mm=distances.hausdorff(),
                hd95_mm=distances.hausdorff(95),
                assd_mm=distances.average(),
                nsd=distances.dice(policy.tolerance_mm(target.name)),
            )
        elif len(surfaces[0]) or len(surfaces[1]):
            distance = far[policy.empty_distance]
            scores = Distances(hd_mm=distance, hd95_mm=distance, assd_mm=distance, nsd=0.0)
        else:
            nothing, all_right = (0.0, 1.0) if policy.empty == "brats" else (math.nan, math.nan)
            scores = Distances(hd_mm=nothing, hd95_mm=nothing, assd_mm=nothing, nsd=all_right)
        yield (pair.case, target.name), scores
