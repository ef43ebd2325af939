"""The signals of a case: numbers that are known without a reference and may tell how good a result is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.postprocessing.components import find_components
from swin_unetr.tasks import Target

Labels = NDArray[np.integer[Any]]
Bytes = NDArray[np.uint8]

#: Entropies and margins are whole numbers of this part, so that their sums are exact in any order.
LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class ZoneMeans:
    """Means over three zones of a structure; NaN over a zone without voxels.

    The border are the voxels with one of another side among their six neighbours, inside and outside of the structure.
    """

    inside: float
    border: float
    outside: float


@dataclass(frozen=True, kw_only=True)
class StructureSignals:
    """What is known of one structure of a case."""

    voxels: int
    volume_ml: float
    #: Connected components (26 neighbours).
    components: int
    #: Entropy of the probabilities, over that of equal ones: 0 to 1.
    entropy: ZoneMeans
    #: Probability of the highest class minus that of the second; of regions the least |2p - 1|.
    margin: ZoneMeans
    #: Dice that the probabilities themselves let expect, before post-processing: 2 (sum of p inside) / (voxels + sum
    #: of p); NaN if nothing was predicted.
    expected_dice: float
    #: Mean pairwise Dice of the members of an ensemble, or of mirrored views. If None, there is one view.
    agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class CaseSignals:
    """What is known of a case."""

    structures: Mapping[str, StructureSignals]
    #: Whose Dice `agreement` is: "members" or "mirrored views"; None if there is one view.
    compared: str | None = None
    #: Pooled bottleneck features of each member, mean and maximum of each channel one after the other; empty of a
    #: member whose backend or network gives none.
    features: tuple[tuple[float, ...], ...] = field(default=(), repr=False)


def structure_signals(
    labels: Labels,
    entropy: Bytes,
    margin: Bytes,
    target: Target,
    voxel_mm3: float,
    *,
    expected_dice: float,
    agreement: float | None,
) -> StructureSignals:
    """Measure one structure.

    Args:
        labels: label values as written, X x Y x Z.
        entropy: in parts of `LEVELS`, on the same grid.
        margin: likewise.
        target: the structure.
        voxel_mm3: volume of a voxel.
        expected_dice: see `StructureSignals`.
        agreement: see `StructureSignals`.
    """
    found = find_components(labels, target.labels)
    if found is None:
        means = [ZoneMeans(inside=math.nan, border=math.nan, outside=_mean(of.sum(dtype=np.int64), of.size))
                 for of in (entropy, margin)]  # fmt: skip
        return StructureSignals(
            voxels=0, volume_ml=0.0, components=0, entropy=means[0], margin=means[1],
            expected_dice=expected_dice, agreement=agreement,
        )  # fmt: skip
    box = tuple(
        slice(max(0, part.start - 1), min(size, part.stop + 1))
        for part, size in zip(found.box, labels.shape, strict=True)
    )
    inner = tuple(
        slice(part.start - wide.start, part.stop - wide.start) for part, wide in zip(found.box, box, strict=True)
    )
    mask = np.zeros(tuple(part.stop - part.start for part in box), np.bool_)
    mask[inner] = found.numbers > 0
    border = border_of(mask)
    voxels = int(found.voxels.sum())
    entropies, margins = (_zones(of, box, mask, border) for of in (entropy, margin))
    return StructureSignals(
        voxels=voxels,
        volume_ml=voxels * voxel_mm3 / 1000,
        components=len(found.voxels),
        entropy=entropies,
        margin=margins,
        expected_dice=expected_dice,
        agreement=agreement,
    )


def border_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels that have a voxel of another value among their six neighbours."""
    border = np.zeros_like(mask)
    for axis in range(mask.ndim):
        low, high = (
            tuple(part if other == axis else slice(None) for other in range(mask.ndim))
            for part in (slice(None, -1), slice(1, None))
        )
        differ = mask[low] != mask[high]
        border[low] |= differ
        border[high] |= differ
    return border


def pairwise_dice(shared: NDArray[np.int64]) -> float:
    """Mean Dice over the pairs of several masks; 1 of two empty ones.

    Args:
        shared: masks x masks: voxels that two have in common; on the diagonal the voxels of each.
    """
    sizes = np.diag(shared)
    first, second = np.triu_indices(len(shared), 1)
    total = sizes[first] + sizes[second]
    return float(np.where(total > 0, 2 * shared[first, second] / np.maximum(total, 1), 1.0).mean())


def _zones(values: Bytes, box: tuple[slice, ...], mask: NDArray[np.bool_], border: NDArray[np.bool_]) -> ZoneMeans:
    part, total = values[box], int(values.sum(dtype=np.int64))
    inside = mask & ~border
    sums = [int(part[zone].sum(dtype=np.int64)) for zone in (inside, border)]
    sizes = [int(np.count_nonzero(zone)) for zone in (inside, border)]
    return ZoneMeans(
        inside=_mean(sums[0], sizes[0]),
        border=_mean(sums[1], sizes[1]),
        outside=_mean(total - sum(sums), values.size - sum(sizes)),
    )


def _mean(total: int, size: int) -> float:
    return int(total) / (LEVELS * size) if size else math.nan


def signals_from(values: Mapping[str, Any]) -> CaseSignals:
    """The signals that were written as JSON."""

    def zones(of: Mapping[str, Any]) -> ZoneMeans:
        return ZoneMeans(**{zone: math.nan if value is None else value for zone, value in of.items()})

    structures = {}
    for name, of in values["structures"].items():
        expected = math.nan if of["expected_dice"] is None else of["expected_dice"]
        given = {**of, "entropy": zones(of["entropy"]), "margin": zones(of["margin"]), "expected_dice": expected}
        structures[name] = StructureSignals(**given)
    features = tuple(tuple(map(float, each)) for each in values["features"])
    return CaseSignals(structures=structures, compared=values["compared"], features=features)


#: Signals of a structure in the order of a regression's columns.
SIGNALS = (
    "expected_dice", "entropy_inside", "entropy_border", "entropy_outside",
    "margin_inside", "margin_border", "margin_outside", "log_volume", "log_components",
)  # fmt: skip


def row_of(of: StructureSignals, names: Sequence[str], distances: Mapping[str, float]) -> NDArray[np.float64] | None:
    """The named signals of a structure as numbers; None if it was not found. A zone without voxels counts as its
    border.

    Args:
        of: the structure.
        names: of `SIGNALS`, "agreement", and the names of distances.
        distances: of the case's features, by name.
    """
    if of.voxels == 0:
        return None
    known: dict[str, float] = {"expected_dice": of.expected_dice, "log_volume": math.log(of.volume_ml)}
    known["log_components"] = math.log(of.components)
    for name, zones in (("entropy", of.entropy), ("margin", of.margin)):
        known |= {f"{name}_inside": zones.inside, f"{name}_border": zones.border, f"{name}_outside": zones.outside}
        for zone in ("inside", "outside"):
            if math.isnan(known[f"{name}_{zone}"]):
                known[f"{name}_{zone}"] = zones.border
    if of.agreement is not None:
        known["agreement"] = of.agreement
    known |= {name: math.log(max(value, 1e-9)) for name, value in distances.items()}
    return np.array([known.get(name, math.nan) for name in names])
