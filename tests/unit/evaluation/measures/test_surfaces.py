"""Surface metrics: by hand, and against MONAI on real labels with spacing that differs by axis."""

import math

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from swin_unetr.evaluation.measures.distances import DistancePolicy
from swin_unetr.evaluation.measures.label_boxes import LabelBoxes
from swin_unetr.evaluation.measures.surfaces import diagonal_mm, distances_by_voxels, surface_distances, surface_voxels
from swin_unetr.evaluation.run import evaluate


def cut(mask, value=1):
    return LabelBoxes(np.asarray(mask, np.uint8) if np.asarray(mask).dtype == bool else mask).cut({value})


def surface(mask, value=1):
    found = cut(mask, value)
    return surface_voxels(found.mask) + found.start


def distances(prediction, reference, spacing=(1, 1, 1), by=distances_by_voxels):
    return by(cut(prediction), cut(reference), np.diag(np.array(spacing, float)))


def box(start, size, shape=(20, 21, 22)):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))] = 1
    return mask


def test_two_voxels_lie_as_far_apart_as_the_spacing_says():
    found = distances(box((1, 1, 1), (1, 1, 1)), box((4, 5, 1), (1, 1, 1)), (1, 1, 3))
    assert (found.hausdorff(), found.hausdorff(95), found.average()) == (5, 5, 5)
    assert (found.dice(4.9), found.dice(5)) == (0, 1)
    found = distances(box((1, 1, 1), (1, 1, 1)), box((1, 1, 3), (1, 1, 1)), (1, 1, 3))
    assert found.hausdorff() == 6


@pytest.mark.parametrize("start", [(0, 0, 0), (15, 16, 17), (5, 5, 5)])
def test_the_surface_of_a_cube_is_its_shell_also_at_the_border(start):
    assert len(surface(box(start, (5, 5, 5)))) == 5**3 - 3**3
    found = distances(box(start, (5, 5, 5)), box(start, (5, 5, 5)))
    assert (found.hausdorff(), found.average(), found.dice(0)) == (0, 0, 1)


def test_a_plate_shifted_along_its_normal():
    found = distances(box((3, 3, 3), (6, 6, 1)), box((3, 3, 5), (6, 6, 1)), (1, 1, 2.5))
    assert (found.hausdorff(), found.hausdorff(95), found.average(), found.dice(2)) == (5, 5, 5, 0)


def test_spheres_of_one_centre_are_their_radii_apart():
    grid = np.indices((41, 41, 41)) - 20
    radius = np.sqrt((grid**2).sum(0))
    found = distances(radius <= 16, radius <= 10)
    assert found.hausdorff() == pytest.approx(6, abs=0.9)
    assert found.average() == pytest.approx(6, abs=0.5)


def test_a_sheared_grid_measures_where_the_voxels_lie():
    sheared = np.array([[1.0, 0, 0], [0, 1, 2], [0, 0, 2]])
    a, b = (surface(box((5, 5, z), (1, 1, 1))) for z in (5, 6))
    assert surface_distances(a, b, sheared).hausdorff() == pytest.approx(math.sqrt(8))
    assert diagonal_mm((2, 1, 1), np.eye(3)) == 1


def test_labels_of_large_and_of_negative_values():
    for value in (-3, 70000):
        assert len(surface(box((1, 1, 1), (3, 3, 3)).astype(np.int32) * value, value)) == 26


@pytest.mark.parametrize(
    ("policy", "distance"), [("inf", math.inf), ("diagonal", math.sqrt(3 * 49)), ("penalty", 374.0)]
)
@pytest.mark.parametrize("empty", ["nan", "brats"])
def test_policies_for_empty_masks(tmp_path, policy, distance, empty):
    one = box((2, 2, 2), (3, 3, 3), (8, 8, 8))
    for side, labels in (("p", one * 2), ("r", one)):
        (tmp_path / side).mkdir()
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / side / "a.nii.gz")
    task = {"x": 1, "y": 2, "z": 3}
    result = evaluate(tmp_path / "p", tmp_path / "r", task=task, empty=empty, empty_distance=policy)
    value = {(row.structure, row.metric): row.value for row in result.rows}
    for name in ("hd_mm", "hd95_mm", "assd_mm"):
        assert value["x", name] == value["y", name] == pytest.approx(distance)
        assert math.isnan(value["z", name]) if empty == "nan" else value["z", name] == 0
    assert value["x", "nsd"] == value["x", "iou"] == value["x", "sensitivity"] == value["y", "precision"] == 0
    assert math.isnan(value["z", "nsd"]) if empty == "nan" else value["z", "nsd"] == 1
    assert value["x", "volume_difference_ml"] == pytest.approx(0.027)


def shifted(mask):
    return ndimage.shift(mask.astype(np.uint8), (2, -1, 1), order=0) > 0


def eroded(mask):
    return ndimage.binary_erosion(mask)


def with_an_island(mask):
    more = mask.copy()
    more[:3, :3, :3] = True
    return more


def without_a_half(mask):
    part = mask.copy()
    part[:, : int(np.argwhere(mask)[:, 1].mean())] = False
    return part


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 3.0)])
@pytest.mark.parametrize("perturb", [shifted, eroded, with_an_island, without_a_half, np.copy])
@pytest.mark.parametrize(("source", "label"), [("brats", 2), ("brats", 4), ("ct", 5), ("ct", 1)])
def test_equals_monai_on_real_labels(test_data, source, label, perturb, spacing):
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    case = "brats_2013_pat0001_1"
    path = {
        "brats": test_data / "brats2013" / case / f"{case}_seg.nii.gz",
        "ct": test_data / "ct" / "labelled" / "torso_sm_totalseg117.nii.gz",
    }[source]
    reference = np.asarray(nib.load(path).dataobj) == label
    prediction = perturb(reference)
    if not (reference.any() and prediction.any()):
        pytest.skip(f"label {label} is empty")
    one_hot = [torch.from_numpy(mask.astype(np.uint8))[None, None] for mask in (prediction, reference)]
    shared = {"include_background": True, "spacing": list(spacing)}
    found = distances(prediction, reference, spacing)
    for percentile in (None, 95):
        expected = metrics.compute_hausdorff_distance(*one_hot, percentile=percentile, **shared)
        assert found.hausdorff(percentile or 100) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)
    expected = metrics.compute_average_surface_distance(*one_hot, symmetric=True, **shared)
    assert found.average() == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    # Not at a distance that occurs: MONAI's are rounded to float32.
    expected = metrics.compute_surface_dice(*one_hot, class_thresholds=[2.05], **shared)
    assert found.dice(2.05) == pytest.approx(float(expected), rel=1e-6)


def test_where_monais_percentile_differs_it_is_the_rank_that_float32_rounds():
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    x, y, z = np.ogrid[-1.1:1.1:110j, -1.1:1.1:110j, -1.1:1.1:80j]
    masks = [x**2 + y**2 + z**2 <= 1 + waves for waves in (0, 0.1 * (np.sin(4 * x) + np.sin(3 * y + 5 * z)))]
    spacing = (0.73, 0.81, 2.3)
    found = distances(*masks, spacing)
    one_hot = [torch.from_numpy(mask.astype(np.uint8))[None, None] for mask in masks]
    theirs = metrics.compute_hausdorff_distance(*one_hot, include_background=True, percentile=95, spacing=spacing)
    in_float32 = [
        float(torch.quantile(torch.from_numpy(side).float(), 0.95))
        for side in (found.to_reference, found.to_prediction)
    ]
    assert float(theirs) == pytest.approx(max(in_float32), rel=1e-7)
    assert found.hausdorff(95) == pytest.approx(float(theirs), abs=1e-3)


def test_the_policy_is_said_in_words() -> None:
    policy = DistancePolicy(tolerances_mm={"liver": 3.0}, empty_distance="penalty")
    assert policy.in_words() == (
        "Surfaces are counted in voxels, as in MONAI. NSD has a tolerance of 2 mm (liver 3 mm). Where one of the two "
        "masks is empty, a distance is 374 mm (policy `penalty`)."
    )
