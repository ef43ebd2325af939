"""Where each class of a label is: an index with which crops find rare structures without reading the scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.crops import ANY, class_mask

#: How many places of a class are kept for a scan, at most.
MOST = 10_000


def class_places(label: NDArray[Any], targets: int, most: int = MOST) -> list[tuple[int, NDArray[np.int64]]]:
    """Voxels of background, of each target, and of any target if there are several (`transforms.crops.class_mask`).

    Works plane by plane. If a class has more than `most` voxels, their list is divided into `most` equal parts, and one
    voxel of each part is drawn at random; the same label gives the same voxels.

    Args:
        label: encoded targets, C x X x Y x Z.
        targets: how many there are.
        most: largest number of places of a class.

    Returns:
        For each class the number of its voxels, and flat indices of X x Y x Z of all or `most` of them, ascending.
    """
    classes = [*range(targets + 1), *([ANY] if targets > 1 else [])]
    return [_places(label, which, most) for which in classes]


def places_at_most(targets: int, voxels: int, most: int = MOST) -> int:
    """How many places are kept for a scan, at most."""
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
