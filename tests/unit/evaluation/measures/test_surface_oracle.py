"""Surface metrics by area against DeepMind's `surface-distance`, and how they differ from those by voxels."""

import math

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from swin_unetr.evaluation.measures.label_boxes import LabelBoxes
from swin_unetr.evaluation.measures.surfaces import distances_by_area, distances_by_voxels
from swin_unetr.evaluation.run import evaluate

CASES = ("brats_2013_pat0001_1", "brats_2013_pat0006_1")


def shifted(mask):
    return ndimage.shift(mask.astype(np.uint8), (2, -1, 1), order=0) > 0


def lesions_added(mask):
    more = mask.copy()
    more[:3, :3, :3] = more[-4:, 5:9, -2:] = True
    return more


def largest_lesion_removed(mask):
    lesions, _ = ndimage.label(mask)
    sizes = np.bincount(lesions.ravel())
    kept = mask & (lesions != 1 + int(np.argmax(sizes[1:])))
    return kept if kept.any() else np.roll(mask, 5, axis=0)


def pairs(mask):
    yield from ((change(mask), mask) for change in (shifted, lesions_added, largest_lesion_removed, np.copy))
    yield ndimage.binary_erosion(mask), mask


def reference_masks(test_data):
    for case in CASES:
        labels = np.asarray(nib.load(test_data / "brats2013" / case / f"{case}_seg.nii.gz").dataobj)
        yield from (labels > 0, labels == 4)
    labels = np.asarray(nib.load(test_data / "ct" / "labelled" / "torso_sm_totalseg117.nii.gz").dataobj)
    for value in (1, 5):
        yield labels == value


def cuts(*masks):
    return [LabelBoxes(mask.astype(np.uint8)).cut({1}) for mask in masks]


def voxel(*at, shape=(12, 9, 7)):
    mask = np.zeros(shape, bool)
    mask[at] = True
    return mask


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0), (0.7, 1.3, 2.1)])
def test_equals_deepmind_on_real_labels(test_data, spacing):
    oracle = pytest.importorskip("surface_distance")
    compared = 0
    for reference in reference_masks(test_data):
        for prediction, _ in pairs(reference):
            if not (prediction.any() and reference.any()):
                continue
            found = distances_by_area(*cuts(prediction, reference), np.diag(spacing))
            theirs = oracle.compute_surface_distances(reference, prediction, spacing)
            for percent in (50, 95, 100):
                expected = oracle.compute_robust_hausdorff(theirs, percent)
                assert found.hausdorff(percent) == pytest.approx(expected, rel=1e-6, abs=1e-6)
            for tolerance in (0.0, 1.0, 2.0, 5.1):
                expected = oracle.compute_surface_dice_at_tolerance(theirs, tolerance)
                assert found.dice(tolerance) == pytest.approx(expected, rel=1e-6)
            # It gives each direction apart; ours is of both surfaces together.
            areas = theirs["surfel_areas_pred"].sum(), theirs["surfel_areas_gt"].sum()
            of_reference, of_prediction = oracle.compute_average_surface_distance(theirs)
            expected = np.average([of_prediction, of_reference], weights=areas)
            assert found.average() == pytest.approx(expected, rel=1e-6, abs=1e-9)
            compared += 1
    assert compared >= 25


def test_an_empty_prediction_is_infinitely_far_as_in_deepminds(monkeypatch, tmp_path):
    oracle = pytest.importorskip("surface_distance")
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)  # its only name that NumPy 2 took away
    one = voxel(5, 5, 5)
    theirs = oracle.compute_surface_distances(one, np.zeros_like(one), (1, 1, 1))
    for name, mask in (("p", np.zeros_like(one)), ("r", one)):
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    result = evaluate(tmp_path / "p.nii.gz", tmp_path / "r.nii.gz", task={"x": 1}, surface="area")
    value = {row.metric: row.value for row in result.rows}
    assert value["hd95_mm"] == oracle.compute_robust_hausdorff(theirs, 95) == math.inf
    assert value["nsd"] == oracle.compute_surface_dice_at_tolerance(theirs, 2) == 0


def test_from_files_of_anisotropic_voxels(tmp_path, test_data):
    oracle = pytest.importorskip("surface_distance")
    case = CASES[0]
    labels = np.asarray(nib.load(test_data / "brats2013" / case / f"{case}_seg.nii.gz").dataobj).astype(np.uint8)
    moved = np.roll(labels, (2, -1, 1), axis=(0, 1, 2))
    affine = np.diag([-0.5, 0.5, 3.0, 1])  # the first axis runs to the left
    for name, of in (("p", moved), ("r", labels)):
        nib.save(nib.Nifti1Image(of, affine), tmp_path / f"{name}.nii.gz")
    paths = tmp_path / "p.nii.gz", tmp_path / "r.nii.gz"
    task = {f"class {value}": value for value in np.unique(labels) if value}
    result = evaluate(*paths, task={name: int(value) for name, value in task.items()}, surface="area")
    for name, value in task.items():
        theirs = oracle.compute_surface_distances(labels == value, moved == value, (0.5, 0.5, 3.0))
        found = {row.metric: row.value for row in result.rows if row.structure == name}
        assert found["hd95_mm"] == pytest.approx(oracle.compute_robust_hausdorff(theirs, 95), rel=1e-6)
        assert found["nsd"] == pytest.approx(oracle.compute_surface_dice_at_tolerance(theirs, 2), rel=1e-6)
    assert result.distances.surface == "area"
    assert "weighted by their area" in result.distances.in_words()


def test_two_voxels_tell_the_definitions_apart():
    """Centres lie 4 mm apart. Of the corners of a voxel, four lie 4 mm and four 3 mm from the other's nearest."""
    masks = cuts(voxel(2, 4, 3), voxel(6, 4, 3))
    by_voxels, by_area = (of(*masks, np.eye(3)) for of in (distances_by_voxels, distances_by_area))
    assert (by_voxels.hausdorff(), by_voxels.average(), by_voxels.dice(3)) == (4, 4, 0)
    assert (by_area.hausdorff(), by_area.average(), by_area.dice(3)) == (4, 3.5, pytest.approx(0.5))
    # Eight equal triangles, each across the middles of three edges that meet in a corner.
    assert by_area.areas[0] == pytest.approx([math.sqrt(3) / 8] * 8)


def test_a_cube_in_a_cube():
    """Shells of 9 and 5 voxels a side, 2 mm apart: 6 * 25 voxels of the outer lie straight above the inner one."""
    outer, inner = np.zeros((13, 13, 13), bool), np.zeros((13, 13, 13), bool)
    outer[2:11, 2:11, 2:11] = inner[4:9, 4:9, 4:9] = True
    found = distances_by_voxels(*cuts(outer, inner), np.eye(3))
    shell = np.argwhere(outer & ~ndimage.binary_erosion(outer))
    away = np.linalg.norm(np.maximum(0, np.maximum(4 - shell, shell - 8)), axis=1)
    assert found.hausdorff() == pytest.approx(2 * math.sqrt(3))
    assert found.hausdorff(95) == pytest.approx(np.percentile(away, 95))
    assert found.dice(2) == pytest.approx((6 * 25 + 98) / (386 + 98))
    assert found.average() == pytest.approx((away.sum() + 98 * 2) / (386 + 98))


def test_at_the_border_of_the_scan_there_is_a_surface():
    whole = np.ones((4, 5, 6), bool)
    for of in (distances_by_voxels, distances_by_area):
        found = of(*cuts(whole, whole), np.diag((1, 2, 3.0)))
        assert (found.hausdorff(), found.average(), found.dice(0)) == (0, 0, 1)
        thinner = whole.copy()
        thinner[0] = False
        assert of(*cuts(thinner, whole), np.diag((1.5, 2, 3))).hausdorff() == 1.5
