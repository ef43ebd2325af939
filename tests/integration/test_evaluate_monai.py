"""Our Dice against MONAI's, on real labels from files and predictions that are wrong in known ways."""

import math

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from swin_unetr.evaluation.run import evaluate
from swin_unetr.tasks import brats

HIPPOCAMPUS = {"Anterior": 1, "Posterior": 2}
BRATS_CASES = ("brats_2013_pat0001_1", "brats_2013_pat0006_1")


def shifted(labels):
    """Two voxels along the first axis; what leaves on one side is background on the other."""
    moved = np.zeros_like(labels)
    moved[2:] = labels[:-2]
    return moved


def eroded(labels):
    return np.where(ndimage.binary_erosion(labels > 0), labels, 0).astype(labels.dtype)


def without_first(labels):
    """One structure is missed altogether."""
    return np.where(labels == labels[labels > 0].min(), 0, labels).astype(labels.dtype)


PERTURBATIONS = (shifted, eroded, without_first, np.zeros_like, np.array)


def write_predictions(references, folder):
    """Case k of the references is perturbed in the k-th way."""
    for index, path in enumerate(references):
        image = nib.load(path)
        labels = PERTURBATIONS[index % len(PERTURBATIONS)](np.asarray(image.dataobj).astype(np.uint8))
        nib.save(nib.Nifti1Image(labels, image.affine), folder / path.name.replace("_seg", ""))
    return folder


def monai_dice(predictions, references, label_sets, ignore_empty):
    """(cases, structures) from MONAI's DiceMetric, and its mean per structure and over all."""
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    metric = metrics.DiceMetric(include_background=True, reduction="mean_batch", ignore_empty=ignore_empty)
    for prediction, reference in zip(predictions, references, strict=True):
        sides = [np.asarray(nib.load(path).dataobj) for path in (prediction, reference)]
        masks = [np.stack([np.isin(side, labels) for labels in label_sets])[None] for side in sides]
        metric(*(torch.from_numpy(mask.astype(np.float32)) for mask in masks))
    means = metric.aggregate().numpy(), float(metric.aggregate(reduction="mean"))
    return metric.get_buffer().numpy(), *means


def assert_same(result, expected, mean_of_structures, mean):
    """`expected` is (cases, structures); the summary holds the structures and then their mean."""
    values = np.array([row.value for row in result.rows]).reshape(expected.shape)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    np.testing.assert_allclose([summary.mean for summary in result.summary[:-1]], mean_of_structures, atol=1e-6)
    assert result.summary_of().mean == pytest.approx(mean, abs=1e-6)


@pytest.fixture(scope="module")
def hippocampus(test_data, tmp_path_factory):
    references = sorted((test_data / "Task04_Hippocampus" / "labelsTr").glob("*.nii.gz"))[:10]
    return references, write_predictions(references, tmp_path_factory.mktemp("hippocampus"))


def test_hippocampus(hippocampus):
    references, folder = hippocampus
    ids = [path.name.removesuffix(".nii.gz") for path in references]
    result = evaluate(folder, references[0].parent, task=HIPPOCAMPUS, cases=ids, empty="brats", metrics=("dice",))
    predictions = [folder / path.name for path in references]
    assert_same(result, *monai_dice(predictions, references, [(1,), (2,)], ignore_empty=False))
    assert 0 < result.summary_of().mean < 1
    assert result.exit_code == 0


def test_brats_regions_in_a_dataset_folder(test_data, tmp_path):
    root = test_data / "brats2013"
    references = [root / case / f"{case}_seg.nii.gz" for case in BRATS_CASES]
    write_predictions(references, tmp_path)
    result = evaluate(tmp_path, root, task="brats", cases=BRATS_CASES, metrics=("dice",))
    assert result.reference_task.name == "brats2013"
    predictions = [tmp_path / f"{case}.nii.gz" for case in BRATS_CASES]
    label_sets = [target.labels for target in brats("brats2013").targets]
    assert_same(result, *monai_dice(predictions, references, label_sets, ignore_empty=True))
    assert result.summary_of("WT").minimum > 0.5


@pytest.mark.parametrize("perturb", PERTURBATIONS)
def test_many_classes_of_a_ct(perturb, test_data, tmp_path):
    reference = test_data / "ct" / "labelled" / "torso_sm_totalseg117.nii.gz"
    image = nib.load(reference)
    labels = np.asarray(image.dataobj)
    nib.save(nib.Nifti1Image(perturb(labels), image.affine), tmp_path / "ct.nii.gz")
    task = {f"class {value}": value for value in range(1, 118)}
    expected = monai_dice([tmp_path / "ct.nii.gz"], [reference], [(value,) for value in range(1, 118)], True)[0]
    result = evaluate(tmp_path / "ct.nii.gz", reference, task=task, metrics=("dice",))
    np.testing.assert_allclose([row.value for row in result.rows], expected[0], atol=1e-6)
    present = set(np.unique(labels)) - {0}
    assert {value for value, row in enumerate(result.rows, 1) if row.status == "evaluated"} == present
    assert result.rows[0].reference_ml == pytest.approx(np.count_nonzero(labels == 1) * 0.027)


def test_where_we_differ_from_monai_a_structure_that_is_only_predicted(hippocampus, tmp_path):
    """MONAI's default leaves it out with the empty reference, though the prediction invents it; we count 0."""
    reference = hippocampus[0][0]
    image = nib.load(reference)
    only_posterior = np.where(np.asarray(image.dataobj) == 2, 2, 0).astype(np.uint8)
    for name, labels in (("pred", image.dataobj), ("ref", only_posterior)):
        nib.save(nib.Nifti1Image(np.asarray(labels, np.uint8), image.affine), tmp_path / f"{name}.nii.gz")
    paths = tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz"
    values = [row.value for row in evaluate(*paths, task=HIPPOCAMPUS, metrics=("dice",)).rows]
    default, *_ = monai_dice([paths[0]], [paths[1]], [(1,), (2,)], ignore_empty=True)
    counting, *_ = monai_dice([paths[0]], [paths[1]], [(1,), (2,)], ignore_empty=False)
    assert values == [0, 1] == counting[0].tolist()
    assert math.isnan(default[0, 0])
