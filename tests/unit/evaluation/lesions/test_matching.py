"""Lesion-wise scores of cubes, by hand. Against the official programs: tests/golden/test_brats_official.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

from swin_unetr.evaluation.lesions.matching import hd95_by_area, lesion_scores
from swin_unetr.evaluation.lesions.rules import LESION_RULES

SHAPE = (48, 32, 32)
R2023, R2024, R2025 = (LESION_RULES[name] for name in ("brats2023", "brats2024", "brats2025"))


def mask(*cubes):
    """Cubes as (x, y, z, size), or boxes as (x, y, z, (sizes))."""
    drawn = np.zeros(SHAPE, dtype=bool)
    for x, y, z, size in cubes:
        sx, sy, sz = size if isinstance(size, tuple) else (size,) * 3
        drawn[x : x + sx, y : y + sy, z : z + sz] = True
    return drawn


def score(prediction, reference, rules, spacing=(1.0, 1.0, 1.0), cores=None):
    return lesion_scores(prediction, reference, np.diag((*spacing, 1.0)), rules, cores)


def counts(scores):
    return tuple(scores.count(status) for status in ("found", "missed", "invented", "small"))


A, B, C = (4, 4, 4, 6), (34, 4, 4, 5), (20, 24, 24, 4)


def test_one_found_one_missed_one_invented():
    scores = score(mask(A, C), mask(A, B), R2023)
    assert counts(scores) == (1, 1, 1, 0)
    assert scores.dice == pytest.approx(1 / 3)  # 1, 0 and 0
    assert scores.hd95_mm == pytest.approx((0 + 374 + 374) / 3)
    assert [lesion.status for lesion in scores.lesions] == ["found", "missed", "invented"]
    assert [lesion.reference_ml for lesion in scores.lesions] == pytest.approx([0.216, 0.125, 0])
    assert [lesion.predicted_ml for lesion in scores.lesions] == pytest.approx([0.216, 0, 0.064])
    assert scores.lesions[0].centre_mm == (6.5, 6.5, 6.5)  # voxels 4 to 9


def test_later_rules_average_what_was_found_and_count_the_rest():
    scores = score(mask(A, C), mask(A, B), R2025)
    assert counts(scores) == (1, 1, 1, 0)
    assert (scores.dice, scores.hd95_mm, scores.nsd) == (1, 0, (1,))


def test_a_small_reference_lesion_is_not_scored_found_or_not():
    small = (4, 20, 20, 3)  # 27 mm³
    missed = score(mask(A), mask(A, small), R2023)
    assert counts(missed) == (1, 0, 0, 1)
    assert (missed.dice, missed.hd95_mm) == (1, 0)
    # What is predicted for it is not invented either.
    found = score(mask(A, small), mask(A, small), R2023)
    assert counts(found) == (1, 0, 0, 1)
    # For metastases, 2 mm³ is the limit.
    assert counts(score(mask(A), mask(A, small), LESION_RULES["brats2023-met"])) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("size", "spacing", "status"),
    [
        ((5, 5, 2), (1.0, 1.0, 1.0), "small"),  # 50 mm³ is small
        ((17, 3, 1), (1.0, 1.0, 1.0), "missed"),  # 51 mm³ is not
        ((5, 5, 1), (2.0, 1.0, 1.0), "small"),  # 25 voxels of 2 mm³
        ((13, 2, 1), (2.0, 1.0, 1.0), "missed"),  # 26 of them
    ],
)
def test_the_limit_is_a_volume_and_belongs_to_the_small(size, spacing, status):
    scores = score(mask(), mask((4, 4, 4, size)), R2023, spacing)
    assert scores.lesions[0].status == status


def test_one_prediction_over_two_lesions():
    two, bar = mask((4, 4, 4, 5), (24, 4, 4, 5)), mask((4, 4, 4, (25, 5, 5)))
    scores = score(bar, two, R2023)
    assert counts(scores) == (2, 0, 0, 0)
    # Each lesion of 125 voxels is compared with the whole bar of 625.
    assert scores.dice == pytest.approx(2 * 125 / (125 + 625))
    one_to_one = score(bar, two, R2025)
    assert counts(one_to_one) == (1, 1, 0, 0)
    assert one_to_one.dice == pytest.approx(2 * 125 / (125 + 625))


def test_two_predictions_in_one_lesion():
    lesion, pieces = mask((4, 4, 4, (10, 4, 4))), mask((4, 4, 4, 4), (10, 4, 4, 4))
    scores = score(pieces, lesion, R2023)
    assert counts(scores) == (1, 0, 0, 0)
    assert scores.dice == pytest.approx(2 * 128 / (128 + 160))  # both pieces, of 64 voxels each
    one_to_one = score(pieces, lesion, R2025)
    assert counts(one_to_one) == (1, 0, 1, 0)
    assert one_to_one.dice == pytest.approx(2 * 64 / (64 + 160))


@pytest.mark.parametrize(("gap", "lesions"), [(6, 1), (7, 2)])
def test_three_dilations_join_lesions_up_to_six_voxels_apart(gap, lesions):
    first, second = (4, 4, 4, 5), (9 + gap, 4, 4, 5)
    scores = score(mask(first), mask(first, second), R2023)
    if lesions == 1:
        assert counts(scores) == (1, 0, 0, 0)
        assert scores.dice == pytest.approx(2 * 125 / (125 + 250))
    else:
        assert counts(scores) == (1, 1, 0, 0)
        assert scores.dice == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize(("gap", "status"), [(2, "found"), (3, "missed")])
def test_a_prediction_within_the_dilation_has_found_the_lesion(gap, status):
    scores = score(mask((9 + gap, 4, 4, 5)), mask((4, 4, 4, 5)), R2023)
    assert scores.lesions[0].status == status
    assert scores.dice == 0
    if status == "found":
        # The far face, a sixth of the surface, is 5 + 2 mm from the other cube's near face.
        assert scores.hd95_mm == 7
    # Without a dilation it is missed, and the prediction invented.
    assert counts(score(mask((9 + gap, 4, 4, 5)), mask((4, 4, 4, 5)), R2025)) == (0, 1, 1, 0)


def test_distances_of_2025_are_of_both_surfaces_together():
    # A cube of 5 voxels has 5³ - 3³ = 98 on its surface. Moved by one voxel along z, 3 mm: the 25 of its first face are
    # 3 mm from the other; of the 9 in the middle of its last face, 8 are 1 mm from the other's side and one is 2 mm;
    # the rest lie on it. The same the other way round, and the tolerance is the smallest spacing, 1 mm.
    scores = score(mask((4, 4, 5, 5)), mask((4, 4, 4, 5)), R2025, (1.0, 1.0, 3.0))
    assert scores.dice == pytest.approx(0.8)
    assert scores.hd95_mm == 3
    assert scores.nsd == pytest.approx((72 / 98,))


def test_surfels_weigh_by_area():
    # Corners of the large cube's faces are 1 mm from the small one, those of its edges √2, its own eight √3. The faces
    # have less than 95 % of the area, faces and edges more.
    small, large = mask((10, 10, 10, 5)), mask((9, 9, 9, 7))
    assert hd95_by_area(large, small, np.eye(4)) == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("rules", "both", "one"),
    [(R2023, (1, 0), (0, 374)), (R2024, (1, 0), (0, 337)), (R2025, (math.nan, math.nan), (0, math.inf))],
)
def test_empty_masks(rules, both, one):
    nothing = score(mask(), mask(), rules)
    assert (nothing.dice, nothing.hd95_mm) == pytest.approx(both, nan_ok=True)
    assert nothing.lesions == ()
    for pair in ((mask(A), mask()), (mask(), mask(A))):
        scores = score(*pair, rules)
        assert (scores.dice, scores.hd95_mm) == one
        assert set(scores.nsd) <= {0.0}


def test_rules_of_2024_drop_small_predictions_and_join_near_ones():
    speck = (20, 24, 24, 2)  # 8 voxels of the 20 that it takes
    assert counts(score(mask(A, speck), mask(A), R2024)) == (1, 0, 0, 0)
    near = (20, 24, 24, 3), (24, 24, 24, 3)
    assert counts(score(mask(A, *near), mask(A), R2024)) == (1, 0, 1, 0)
    assert counts(score(mask(A, *near), mask(A), R2023)) == (1, 0, 2, 0)


def test_rules_of_2024_have_limits_of_their_own_for_enhancing_tumour():
    lesion = mask((4, 4, 4, (4, 2, 2)))  # 16 mm³
    assert counts(score(mask(), lesion, R2024.of("WT"))) == (0, 0, 0, 1)
    assert counts(score(mask(), lesion, R2024.of("ET"))) == (0, 1, 0, 0)


def test_rules_of_2024_join_lesions_that_touch_the_same_core():
    enhancing, core = mask((4, 4, 4, 4), (24, 4, 4, 4)), mask((8, 4, 4, (16, 4, 4)))
    scores = score(mask((4, 4, 4, 4)), enhancing, R2024, cores=(mask(), core))
    assert counts(scores) == (1, 0, 0, 0)
    assert scores.dice == pytest.approx(2 * 64 / (64 + 128))
    assert counts(score(mask((4, 4, 4, 4)), enhancing, R2024)) == (1, 1, 0, 0)


def test_corners_connect():
    # Two cubes that share a corner only are one lesion.
    assert len(score(mask(), mask((4, 4, 4, 4), (8, 8, 8, 4)), R2025).lesions) == 1


def test_the_greatest_sum_of_dice_decides_who_is_paired():
    reference = mask((0, 0, 0, (3, 5, 5)), (5, 0, 0, (2, 5, 5)))
    prediction = mask((2, 0, 0, (4, 5, 5)), (0, 0, 0, (1, 5, 5)))
    scores = score(prediction, reference, R2025)
    # R1 is x 0-2, R2 5-6; P is x 2-5, Q x 0. P∩R1 = x 2, P∩R2 = x 5, Q∩R1 = x 0: slices of 25 voxels.
    # P-R2 and Q-R1: 2·25/(100+50) + 2·25/(25+75) = 1/3 + 1/2; P-R1 alone: 2·25/(100+75) = 2/7.
    assert counts(scores) == (2, 0, 0, 0)
    assert scores.dice == pytest.approx((1 / 3 + 1 / 2) / 2)


def test_a_turned_scan_gives_the_same():
    generator = np.random.default_rng(3)
    prediction, reference = (generator.random(SHAPE) < 0.01 for _ in range(2))
    turned = tuple(np.ascontiguousarray(side.transpose(2, 0, 1)) for side in (prediction, reference))
    one = score(prediction, reference, R2023, (0.5, 1.0, 2.0))
    other = score(*turned, R2023, (2.0, 0.5, 1.0))
    assert (one.dice, one.hd95_mm) == pytest.approx((other.dice, other.hd95_mm))
    assert counts(one) == counts(other)


def test_rules_say_themselves():
    for rules in LESION_RULES.values():
        assert rules.name in rules.in_words()
        assert rules.title in rules.in_words()
