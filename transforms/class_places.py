"""Where each class of a label is: an index by which crops find rare structures without a look at the scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.crops import ANY, class_mask

#: Places of a class that are kept of a scan.
MOST = 10_000


def class_places(label: NDArray[Any], targets: int, most: int = MOST) -> list[tuple[int, NDArray[np.int64]]]:
    """Voxels of background, of each target, and of any target where there are several (`transforms.crops.class_mask`).

    Works plane by plane. Of a class with more than `most` voxels, so many are drawn evenly: one at random of each of
    as many equal parts of the list, the same for the same label.

    Args:
        label: encoded targets, C x X x Y x Z.
        targets: how many there are.
        most: places of a class.

    Returns:
        For each class the number of its voxels, and flat indices of X x Y x Z of all or `most` of them, ascending.
    """
    classes = [*range(targets + 1), *([ANY] if targets > 1 else [])]
    return [_places(label, which, most) for which in classes]


def places_at_most(targets: int, voxels: int, most: int = MOST) -> int:
    """How many places are kept of a scan, at most."""
    return (targets + 2) * min(most, voxels)


def _places(label: NDArray[Any], which: int, most: int) -> tuple[int, NDArray[np.int64]]:
    planes = range(label.shape[1])
    counts = np.array([np.count_nonzero(class_mask(label[:, x], which)) for x in planes])
    total = int(counts.sum())
    if total <= most:
        wanted = np.arange(total)
    else:
        starts = np.arange(most + 1) * total // most
        wanted = starts[:-1] + (np.random.default_rng(0).random(most) * np.diff(starts)).astype(np.int64)
    ends = counts.cumsum()
    found = []
    for x, end, count in zip(planes, ends.tolist(), counts.tolist(), strict=True):
        mine = wanted[np.searchsorted(wanted, end - count) : np.searchsorted(wanted, end)]
        if len(mine):
            found.append(np.flatnonzero(class_mask(label[:, x], which))[mine - (end - count)] + x * label[0, 0].size)
    return total, np.concatenate(found) if found else np.empty(0, np.int64)
