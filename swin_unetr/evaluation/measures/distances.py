"""The surface metrics of a structure of a case, with the policies for masks that are empty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from swin_unetr.evaluation.measures.label_boxes import Cut
from swin_unetr.evaluation.measures.overlap import EmptyPolicy
from swin_unetr.evaluation.measures.surfaces import diagonal_mm, distances_by_area, distances_by_voxels
from transforms.geometry import Geometry

#: What a distance is where one of the two masks is empty: infinite, the diagonal of the scan, or `PENALTY_MM`.
EmptyDistance = Literal["inf", "diagonal", "penalty"]

#: What a surface is made of: voxels, as MONAI has it, or elements with an area, as DeepMind has it.
Surface = Literal["voxels", "area"]

#: The distance that the BraTS challenges give to a missed or invented structure: the diagonal of 240x240x155 voxels.
PENALTY_MM = 374.0

#: Tolerance of the normalised surface Dice in mm, by default.
TOLERANCE_MM = 2.0


def implied_empty_distance(empty: EmptyPolicy) -> EmptyDistance:
    """What a distance is by default where one mask is empty: BraTS's own under its policy."""
    return "penalty" if empty == "brats" else "inf"


@dataclass(frozen=True, kw_only=True)
class DistancePolicy:
    """How distances are measured."""

    #: Tolerance of each structure in mm; for those that are not named, `default_tolerance_mm`.
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    default_tolerance_mm: float = TOLERANCE_MM
    empty: EmptyPolicy = "nan"
    empty_distance: EmptyDistance = "inf"
    surface: Surface = "voxels"

    def tolerance_mm(self, structure: str) -> float:
        """Tolerance of one structure."""
        return self.tolerances_mm.get(structure, self.default_tolerance_mm)

    def in_words(self) -> str:
        """The policy for a report."""
        named = ", ".join(f"{name} {mm:g} mm" for name, mm in self.tolerances_mm.items())
        tolerance = f"{self.default_tolerance_mm:g} mm" + (f" ({named})" if named else "")
        distance = {"inf": "infinite", "diagonal": "the diagonal of the scan", "penalty": f"{PENALTY_MM:g} mm"}
        surface = {"voxels": "counted in voxels, as in MONAI", "area": "weighted by their area, as by DeepMind"}
        brats = self.empty == "brats" and self.empty_distance == implied_empty_distance("brats")
        implied = ", as `--empty brats` implies" if brats else ""
        return (
            f"Surfaces are {surface[self.surface]}. NSD has a tolerance of {tolerance}. Where one of the two masks is "
            f"empty, a distance is {distance[self.empty_distance]} (policy `{self.empty_distance}`{implied})."
        )


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Surface metrics of one structure of one case; NaN where undefined."""

    hd_mm: float
    hd95_mm: float
    assd_mm: float
    nsd: float


def measure_distances(
    prediction: Cut, reference: Cut, geometry: Geometry, policy: DistancePolicy, structure: str
) -> Distances:
    """Surface metrics of one structure.

    Args:
        prediction: its mask in the prediction.
        reference: its mask in the reference.
        geometry: of the whole scan.
        policy: tolerances, and what holds where a mask is empty.
        structure: its name, for the tolerance.
    """
    by = {"voxels": distances_by_voxels, "area": distances_by_area}[policy.surface]
    distances = by(prediction, reference, geometry.affine)
    if distances is not None:
        return Distances(
            hd_mm=distances.hausdorff(),
            hd95_mm=distances.hausdorff(95),
            assd_mm=distances.average(),
            nsd=distances.dice(policy.tolerance_mm(structure)),
        )
    if prediction.empty and reference.empty:
        nothing, all_right = (0.0, 1.0) if policy.empty == "brats" else (math.nan, math.nan)
        return Distances(hd_mm=nothing, hd95_mm=nothing, assd_mm=nothing, nsd=all_right)
    far = {"inf": math.inf, "diagonal": diagonal_mm(geometry.shape, geometry.affine), "penalty": PENALTY_MM}
    distance = far[policy.empty_distance]
    return Distances(hd_mm=distance, hd95_mm=distance, assd_mm=distance, nsd=0.0)
