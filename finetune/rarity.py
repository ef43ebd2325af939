"""How often crops are centred on each structure, by how rare it is in the training scans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def rarity_weights(
    voxels: Iterable[Sequence[int]], power: float, looked_for: Iterable[Sequence[bool]] | None = None
) -> tuple[float, ...]:
    """How often crops are centred on each target, against the others: its share of the voxels to the power of -`power`.

    The share of a structure is counted in the scans in which it was looked for.

    Args:
        voxels: of each training scan, its voxels of the background and of every target.
        power: 0 gives all the same.
        looked_for: of each training scan, for every target whether it was looked for. If None, all were.

    Returns:
        One for each target, the rarest 1; 0 for a target that no training scan has.
    """
    rows = [tuple(counts) for counts in voxels]
    known = [(True,) * (len(counts) - 1) for counts in rows] if looked_for is None else list(looked_for)
    seen = [sum(of) for of in zip(*known, strict=True)]
    totals = [sum(counts) for counts in zip(*rows, strict=True)][1:]
    means = [count / max(1, scans) for count, scans in zip(totals, seen, strict=True)]
    rarest = min((mean for mean in means if mean), default=1.0)
    return tuple((rarest / mean) ** power if mean else 0.0 for mean in means)
