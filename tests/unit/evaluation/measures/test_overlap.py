"""Overlap from joint counts: by hand, by brute force, and against MONAI."""

import math

import numpy as np
import pytest

from swin_unetr.evaluation.measures.joint_counts import count_jointly
from swin_unetr.evaluation.measures.overlap import Overlap, dice
from swin_unetr.tasks import brats


def cube(shape, start, size, value=1):
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(at, at + size) for at in start)] = value
    return labels


def dice_of(prediction, reference, labels=(1,), reference_labels=None, empty="nan"):
    overlap = count_jointly(prediction, reference).overlap(labels, reference_labels or labels)
    return dice(overlap, empty)


def test_two_cubes_that_overlap_by_a_known_count():
    # 4x4x4 voxels each, shifted by 1, 2 and 3: 3*2*1 = 6 in common.
    prediction, reference = cube((10, 11, 12), (2, 2, 2), 4), cube((10, 11, 12), (3, 4, 5), 4)
    overlap = count_jointly(prediction, reference).overlap((1,), (1,))
    assert overlap == Overlap(intersection=6, prediction_only=58, reference_only=58, total=1320)
    assert (overlap.prediction, overlap.reference) == (64, 64)
    assert dice(overlap) == 12 / 128


@pytest.mark.parametrize("start", [(0, 0, 0), (5, 0, 2), (5, 5, 5)])
def test_one_voxel_also_at_the_border(start):
    voxel = cube((6, 6, 6), start, 1)
    assert dice_of(voxel, voxel) == 1
    assert dice_of(voxel, cube((6, 6, 6), start, 2)) == 2 / (1 + np.count_nonzero(cube((6, 6, 6), start, 2)))
    assert dice_of(voxel, cube((6, 6, 6), (2, 2, 2), 1)) == 0


def test_empty_masks_follow_the_policy():
    empty, full = np.zeros((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8)
    assert math.isnan(dice_of(empty, empty))
    assert dice_of(empty, empty, empty="brats") == 1
    for policy in ("nan", "brats"):
        assert dice_of(empty, full, empty=policy) == 0
        assert dice_of(full, empty, empty=policy) == 0
        assert dice_of(full, full, empty=policy) == 1
    # The structure is in neither, though both hold another one.
    assert math.isnan(dice_of(full, full, labels=(2,)))


def test_nested_regions_across_conventions():
    # One voxel each of background, necrosis, oedema, enhancing; the years number enhancing 4 and 3.
    prediction, reference = np.array([[[0, 1, 2, 4]]]), np.array([[[0, 1, 2, 3]]])
    counts = count_jointly(prediction, reference)
    for old, new, size in zip(brats("brats2021").targets, brats("brats2023").targets, (2, 3, 1), strict=True):
        assert counts.overlap(old.labels, new.labels) == Overlap(
            intersection=size, prediction_only=0, reference_only=0, total=4
        )


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (np.uint8, (0, 1, 255)),
        (np.int16, (-3, 0, 7)),
        (np.int64, (0, 5, 1023, 1024)),
        (np.int64, (-(2**40), 0, 1, 2**60)),
        (np.uint16, (4, 9)),
    ],
)
def test_counts_equal_brute_force(dtype, values):
    rng = np.random.default_rng(1)
    prediction, reference = (rng.choice(np.array(values, dtype), (3, 5, 7)) for _ in range(2))
    counts = count_jointly(prediction, reference)
    assert counts.prediction_values == counts.reference_values == values
    expected = [[np.count_nonzero((prediction == p) & (reference == r)) for r in values] for p in values]
    assert counts.voxels.tolist() == expected


def test_shapes_must_be_the_same():
    with pytest.raises(ValueError, match="shapes differ"):
        count_jointly(np.zeros((2, 2, 2), int), np.zeros((2, 2, 3), int))
