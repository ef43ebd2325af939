"""What a lesion is, when it counts as found, and how a case is scored: the rules of the BraTS challenges, as data.

Read from what the organisers publish, and checked against it (scripts/check/brats_oracle.py):

- 2023: `metrics.py` of github.com/rachitsaluja/BraTS-2023-Metrics, Synapse thread 10357.
- 2024: `metrics_GLI.py`, `metrics_SSA.py`, `metrics_PED.py` of github.com/rachitsaluja/BraTS-2024-Metrics.
- 2025 on: the PyPI package `brats-evaluation` 0.0.10, which is panoptica 2.1.7 with the settings below.

In all of them a lesion is a set of voxels that are connected by faces, edges or corners (26 neighbours).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from swin_unetr.words import count


@dataclass(frozen=True, kw_only=True)
class LesionRules:
    """How lesions are separated, matched and averaged."""

    #: Name on the command line.
    name: str
    #: Whose rules these are, for a report.
    title: str
    #: Which file of scores these rules belong to; see `brats_table`.
    year: Literal[2023, 2024, 2025]
    #: Reference lesions whose dilations (this many times, by the 18 neighbours over faces and edges) touch are one
    #: lesion, and a predicted lesion that reaches into the dilation of a reference lesion has found it.
    dilation: int = 0
    #: Whether predicted lesions are joined by their dilations too.
    join_predictions: bool = False
    #: Lesions of ET that touch the same lesion of the necrotic core are one; those of the core are joined by a
    #: dilation of this many times. If None, they are not joined.
    core_dilation: int | None = None
    #: Predicted lesions of the core of up to that many voxels join nothing.
    core_small_voxels: int = 0
    #: Reference lesions of up to this volume in mm³ are not scored, found or not.
    small_mm3: float = 0.0
    #: This volume for single structures.
    small_by_structure: Mapping[str, float] = field(default_factory=dict)
    #: Whether predicted lesions of up to that many voxels are removed beforehand.
    drop_small_predictions: bool = False
    #: "dilation": every predicted lesion in the dilation of a reference lesion is compared with it, together; one
    #: prediction may match several references. "one_to_one": pairs that overlap, so that the sum of their Dice
    #: is greatest (Kuhn's assignment).
    matching: Literal["dilation", "one_to_one"] = "dilation"
    #: What a score of the case is the mean of: "all" lesions, missed and invented ones as the worst score, or those
    #: that were "found".
    mean_of: Literal["all", "found"] = "all"
    #: HD95 of a missed or an invented lesion in mm.
    penalty_mm: float = 374.0
    #: What distances are between: "surfels" of DeepMind, at the corners of voxels and weighted by their area, or the
    #: "voxels" of both surfaces, pooled.
    surface: Literal["surfels", "voxels"] = "surfels"
    #: Tolerances of the normalised surface Dice in mm, the main one first; None means the smallest spacing.
    tolerances_mm: tuple[float | None, ...] = ()

    def of(self, structure: str) -> LesionRules:
        """The rules of one structure."""
        return replace(self, small_mm3=self.small_by_structure.get(structure, self.small_mm3), small_by_structure={})

    def in_words(self) -> str:
        """The rules for a report, in a sentence or two."""
        words = [f"Lesions by the rules `{self.name}` ({self.title}): 26 neighbours"]
        if self.dilation:
            words.append(f"joined and matched within a dilation of {count(self.dilation, 'voxel')}")
        if self.matching == "one_to_one":
            words.append("paired one to one where they overlap, so that the sum of Dice is greatest")
        small = [f"{mm3:g} mm³ ({name})" for name, mm3 in self.small_by_structure.items()]
        if self.small_mm3:
            words.append(f"reference lesions of up to {', '.join([f'{self.small_mm3:g} mm³', *small])} not scored")
        if self.mean_of == "all":
            words.append(
                f"the score of a case is the mean over found, missed and invented lesions (0, {self._worst()})"
            )
        else:
            words.append(f"the score of a case is the mean over found lesions (none found: 0, {self._worst()})")
        return "; ".join(words) + "."

    def _worst(self) -> str:
        return f"HD95 {self.penalty_mm:g} mm"


def _rules_2024(name: str, title: str, **values: object) -> LesionRules:
    base = LesionRules(
        name=name, title=title, year=2024, join_predictions=True, drop_small_predictions=True, tolerances_mm=(1.0, 0.5)
    )
    return replace(base, **values)  # type: ignore[arg-type]


_OFFICIAL_2025 = LesionRules(
    name="brats2025",
    title="BraTS 2025 and 2026, PyPI brats-evaluation",
    year=2025,
    matching="one_to_one",
    mean_of="found",
    penalty_mm=float("inf"),
    surface="voxels",
    tolerances_mm=(None,),
)

#: Rules by the name that `--lesions` takes.
LESION_RULES: dict[str, LesionRules] = {
    rules.name: rules
    for rules in (
        LesionRules(name="brats2023", title="BraTS 2023 GLI, SSA and PED", year=2023, dilation=3, small_mm3=50),
        LesionRules(name="brats2023-men", title="BraTS 2023 MEN", year=2023, dilation=1, small_mm3=50),
        LesionRules(name="brats2023-met", title="BraTS 2023 MET", year=2023, dilation=1, small_mm3=2),
        _rules_2024(
            "brats2024",
            "BraTS 2024 GLI",
            dilation=3,
            small_mm3=20.0,
            small_by_structure={"ET": 10.0},
            core_dilation=5,
            core_small_voxels=20,
            penalty_mm=337.0,
        ),
        _rules_2024(
            "brats2024-ssa", "BraTS 2024 SSA", dilation=3, small_mm3=50.0, core_dilation=3, core_small_voxels=50
        ),
        _rules_2024("brats2024-ped", "BraTS 2024 PED", dilation=5, small_mm3=10.0),
        _OFFICIAL_2025,
        replace(_OFFICIAL_2025, name="components", title="connected components, paired as panoptica does"),
    )
}
