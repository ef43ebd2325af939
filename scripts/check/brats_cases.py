"""Pairs of BraTS label maps that show differences between evaluations: disturbed real ones, and made ones.

Labels are those of BraTS 2023: 1 necrotic core, 2 oedema, 3 enhancing. Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, label

from transforms.io import read_labels

Labels = NDArray[np.integer[Any]]


class Case(NamedTuple):
    """A prediction and a reference on the same grid."""

    name: str
    #: Label maps (X,Y,Z).
    prediction: Labels
    reference: Labels
    #: Voxel indices -> mm, (4,4).
    affine: NDArray[np.float64]


def made_cases() -> Iterator[Case]:
    """Cubes and speckles for every rule, isotropic and not, some at the border."""
    for spacing in ((1.0, 1.0, 1.0), (0.75, 0.9375, 3.0)):
        affine = np.diag((*spacing, 1.0))
        unit = "isotropic" if len(set(spacing)) == 1 else "anisotropic"
        for name, (prediction, reference) in _made().items():
            yield Case(f"{name}_{unit}", prediction, reference, affine)


def _made() -> dict[str, tuple[Labels, Labels]]:
    def drawn(*cubes: tuple[int, int, int, int, int]) -> Labels:
        labels = np.zeros((40, 36, 28), dtype=np.uint8)
        for x, y, z, size, value in cubes:
            labels[x : x + size, y : y + size, z : z + size] = value
        return labels

    a, b, c = (4, 4, 4, 6, 3), (24, 20, 14, 7, 3), (4, 24, 4, 5, 3)
    two = drawn(a, b)
    bridge = two.copy()
    bridge[9:25, 9:10, 9:10], bridge[24, 9:21, 9], bridge[24, 20, 9:15] = 3, 3, 3
    rng = np.random.default_rng(7)
    speckled = (rng.random(two.shape) < 0.02) * rng.integers(1, 4, two.shape)
    nested = drawn((5, 5, 5, 16, 2), (8, 8, 8, 9, 1), (8, 8, 8, 4, 3), (13, 13, 13, 4, 3), (30, 25, 18, 6, 3))
    return {
        "same": (two, two),
        "both_empty": (drawn(), drawn()),
        "no_prediction": (drawn(), two),
        "no_reference": (two, drawn()),
        "one_missed_one_invented": (drawn((5, 4, 4, 6, 3), c), two),
        "one_over_two": (bridge, two),
        "two_over_one": (drawn((4, 4, 4, 2, 3), (8, 4, 4, 3, 3)), drawn((4, 4, 4, 7, 3))),
        "joined_by_dilation": (drawn((4, 4, 4, 5, 3)), drawn((4, 4, 4, 5, 3), (13, 4, 4, 5, 3))),
        "apart_by_dilation": (drawn((4, 4, 4, 5, 3)), drawn((4, 4, 4, 5, 3), (17, 4, 4, 5, 3))),
        "near_but_apart": (drawn((12, 4, 4, 5, 3)), drawn((4, 4, 4, 5, 3))),
        "small_missed": (two, drawn(a, b, (4, 24, 4, 3, 3))),
        "small_found_and_invented": (drawn(a, (4, 24, 4, 2, 3), (34, 4, 20, 2, 3)), drawn(a, (4, 24, 4, 3, 3))),
        "at_the_border": (drawn((0, 0, 0, 6, 3), (36, 32, 24, 3, 3)), drawn((0, 0, 1, 6, 3), (35, 31, 23, 5, 3))),
        "nested": (np.roll(nested, (1, -1, 1), (0, 1, 2)), nested),
        "speckled": (speckled.astype(np.uint8), np.where(two > 0, two, 0).astype(np.uint8)),
        "speckled_reference": (two, speckled.astype(np.uint8)),
        "speckled_both": (np.roll(speckled, 1, 0).astype(np.uint8), speckled.astype(np.uint8)),
    }


def real_cases(data: Path) -> Iterator[Case]:
    """The BraTS 2013 labels of the folder of real data, in the values of 2023, with disturbed predictions."""
    for folder in sorted((data / "brats2013").iterdir()):
        volume = read_labels(next(folder.glob("*_seg.nii.gz")))
        # In 2013, non-enhancing core (3) is core like necrosis (1); enhancing is 4.
        reference = np.array([0, 1, 2, 1, 3], dtype=np.uint8)[volume.array[0]]
        for name, disturb in _DISTURBANCES.items():
            yield Case(f"{folder.name}_{name}", disturb(reference), reference, volume.geometry.affine)


def _without(labels: Labels, mask: NDArray[np.bool_]) -> Labels:
    kept: Labels = np.where(mask, 0, labels).astype(np.uint8)
    return kept


def _eroded(labels: Labels) -> Labels:
    return _without(labels, ~binary_erosion(labels > 0, iterations=2))


def _grown(labels: Labels) -> Labels:
    grown: Labels = np.where((labels == 0) & binary_dilation(labels > 0, iterations=2), 2, labels).astype(np.uint8)
    return grown


def _lesions_removed(labels: Labels) -> Labels:
    """Every second connected lesion of enhancing tumour, by its order in the file, becomes core."""
    lesions, _ = label(labels == 3, np.ones((3, 3, 3)))
    left: Labels = np.where((lesions % 2 == 0) & (lesions > 0), 1, labels).astype(np.uint8)
    return left


def _lesions_added(labels: Labels) -> Labels:
    added: Labels = labels.copy()
    for x, y, z, size, value in ((5, 5, 5, 6, 3), (5, 60, 20, 2, 3), (12, 5, 40, 4, 1), (40, 5, 5, 5, 2)):
        added[x : x + size, y : y + size, z : z + size] = value
    return added


def _split(labels: Labels) -> Labels:
    """Cut in two in the middle of the tumour, three voxels wide."""
    middle = int(np.argwhere(labels > 0)[:, 0].mean())
    cut: Labels = labels.copy()
    cut[middle - 1 : middle + 2] = 0
    return cut


_DISTURBANCES: dict[str, Callable[[Labels], Labels]] = {
    "same": lambda labels: labels,
    "shifted": lambda labels: np.roll(labels, (2, -1, 1), (0, 1, 2)),
    "eroded": _eroded,
    "grown": _grown,
    "lesions_removed": _lesions_removed,
    "lesions_added": _lesions_added,
    "split": _split,
    "empty": np.zeros_like,
    "no_enhancing": lambda labels: np.where(labels == 3, 1, labels).astype(np.uint8),
}
