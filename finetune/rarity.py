"""How often crops are centred on each structure, by how rare it is in the training scans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def rarity_weights(voxels: Iterable[Sequence[int]], power: float) -> tuple[float, ...]:
    """How often crops are centred on each target, against the others: its share of the voxels to the power of -`power`.

    Args:
        voxels: of each training scan, its voxels of the background and of every target.
        power: 0 gives all the same.

    Returns:
        One for each target, the rarest 1; 0 for a target that no training scan has.
    """
    totals = [sum(counts) for counts in zip(*voxels, strict=True)][1:]
    rarest = min((count for count in totals if count), default=1)
    return tuple((rarest / count) ** power if count else 0.0 for count in totals)
