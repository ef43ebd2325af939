"""Predictions against the same thing written out by hand with numpy, nibabel and the bare network."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from swin_unetr.checkpoints import load_model
from swin_unetr.config import InferenceConfig, IntensityConfig, PreprocessConfig
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.predictor import Predictor
from swin_unetr.tasks import Task, brats, exclusive, with_channels
from transforms.geometry import Geometry, Volume
from transforms.io import read_image

CT = Task(name="abdomen", modality="CT", channels=("CT",), targets=exclusive(("liver", "spleen", "bone")))
WINDOW = IntensityConfig(scheme="hu_window", window=(-175.0, 250.0))
WHOLE = PreprocessConfig(intensity=WINDOW, crop_foreground=False)
ONE_WINDOW = InferenceConfig(roi_size=(16, 16, 16))


@pytest.fixture
def lps_phantom(phantom_data: Path, tmp_path: Path) -> Path:
    """A piece of one window from the middle of a phantom, stored to the left and the back."""
    piece = nibabel.load(phantom_data / "imagesTr/phantom_001.nii.gz").slicer[8:24, 8:24, 4:20]
    assert nibabel.aff2axcodes(piece.affine) == ("L", "P", "S")
    nibabel.save(piece, tmp_path / "phantom.nii.gz")
    return tmp_path / "phantom.nii.gz"


def exact(models, **options) -> Predictor:
    """A predictor whose network computes in float32, by torch."""
    return Predictor(models, **{"device": "cpu", "backend": "torch", "precision": "float32", **options})


def plain_scores(model: Path, scan: Path, mirrored: tuple[int, ...] = ()) -> np.ndarray:
    """The network on the whole phantom at once, turned to RAS and back by hand."""
    voxels = nibabel.load(scan).get_fdata(dtype=np.float32)[::-1, ::-1]
    image = torch.from_numpy(((voxels + 175) / 425).clip(0, 1)[None, None])
    axes = [axis + 2 for axis in mirrored]
    with torch.inference_mode():
        scores = load_model(model).network.eval()(image.flip(axes)).flip(axes)
    return scores[0].numpy()[:, ::-1, ::-1]


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=0))
    return powers / powers.sum(axis=0)


def assert_same_labels(labels: np.ndarray, probabilities: np.ndarray) -> None:
    """The strongest class everywhere, but where two are equal to rounding."""
    ordered = np.sort(probabilities, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    assert clear.mean() > 0.99
    assert np.array_equal(labels[clear], probabilities.argmax(axis=0)[clear])


def test_equals_the_network_on_the_whole_image(make_model, lps_phantom) -> None:
    model = make_model("model", CT, preprocess=WHOLE, inference=ONE_WINDOW)
    result = exact(model).segment(read_image([lps_phantom]), with_probabilities=True)
    expected = softmax(plain_scores(model, lps_phantom))
    assert len(np.unique(result.labels)) > 1
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    assert_same_labels(result.labels, expected)


def test_mirror_images_are_averaged(make_model, lps_phantom) -> None:
    model = make_model("model", CT, preprocess=WHOLE, inference=ONE_WINDOW)
    result = exact(model, tta=True).segment(read_image([lps_phantom]), with_probabilities=True)
    subsets = [tuple(np.flatnonzero(chosen)) for chosen in product((0, 1), repeat=3)]
    passes = [plain_scores(model, lps_phantom, mirrored) for mirrored in subsets]
    expected = softmax(np.mean(passes, axis=0))
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    assert not np.allclose(passes[0], passes[-1], atol=1e-3)
    assert_same_labels(result.labels, expected)


def test_only_the_axes_that_training_mirrored_are_mirrored(make_model, lps_phantom) -> None:
    inference = replace(ONE_WINDOW, mirror_axes=(1,))
    model = make_model("model", CT, preprocess=WHOLE, inference=inference)
    result = exact(model, tta=True).segment(read_image([lps_phantom]), with_probabilities=True)
    passes = [plain_scores(model, lps_phantom, mirrored) for mirrored in ((), (1,))]
    np.testing.assert_allclose(result.probabilities, softmax(np.mean(passes, axis=0)), atol=1e-5)


def test_a_model_without_mirroring_refuses_to_average_mirror_images(make_model) -> None:
    model = make_model("model", CT, preprocess=WHOLE, inference=replace(ONE_WINDOW, mirror_axes=()))
    with pytest.raises(ConfigError, match="without mirroring"):
        exact(model, tta=True)


def test_models_are_averaged_each_with_the_same_say(make_model, lps_phantom) -> None:
    one = make_model("one", CT, preprocess=WHOLE, inference=ONE_WINDOW, seed=1)
    other = make_model(
        "other", CT, preprocess=WHOLE, inference=InferenceConfig(roi_size=(16, 16, 16), tta=True), seed=2
    )
    volume = read_image([lps_phantom])
    together, *alone = (exact(models).segment(volume, with_probabilities=True) for models in ([one, other], one, other))
    mean = np.mean([result.probabilities for result in alone], axis=0)
    np.testing.assert_allclose(together.probabilities, mean, atol=1e-6)
    assert_same_labels(together.labels, mean)


def test_progress_counts_every_window_of_every_model(make_threshold_model) -> None:
    models = [make_threshold_model(0, 1, 0.5) for _ in range(2)]
    predictor = exact(models, tta=True, roi_size=(32, 32, 32), overlap=0.25, batch_size=5)
    scan = Volume(np.random.default_rng(0).uniform(size=(1, 64, 40, 33)), Geometry((64, 40, 33), np.eye(4)))
    steps: list[tuple[int, int]] = []
    predictor.segment(scan, on_windows=lambda done, total: steps.append((done, total)))
    total = 2 * (3 * 2 * 2)
    assert steps == [(done, total) for done in range(1, total + 1)]


def test_bfloat16_is_float32_to_its_precision(make_model, lps_phantom) -> None:
    model = make_model("model", CT, preprocess=WHOLE, inference=ONE_WINDOW)
    volume = read_image([lps_phantom])
    one, low = (
        exact(model, precision=precision).segment(volume, with_probabilities=True).probabilities
        for precision in ("float32", "bfloat16")
    )
    difference = np.abs(one - low).max()
    assert 0 < difference < 0.05


def test_regions_are_painted_nested(make_model) -> None:
    task = with_channels(brats("brats2021"), ("FLAIR", "T1ce"))
    model = make_model("model", task, inference=InferenceConfig(roi_size=(16, 16, 16)))
    scan = np.random.default_rng(0).normal(size=(2, 20, 18, 16)).astype(np.float32)
    result = exact(model).segment(Volume(scan, Geometry(scan.shape[1:], np.eye(4))), with_probabilities=True)
    core, whole, enhancing = result.probabilities > 0.5
    expected = np.where(enhancing, 4, np.where(core, 1, np.where(whole, 2, 0)))
    assert set(np.unique(expected)) == {0, 1, 2, 4}
    assert np.array_equal(result.labels, expected)
    assert result.labels.dtype == np.uint8


def test_what_the_crop_left_out_is_background(make_model) -> None:
    crop = PreprocessConfig(spacing_mm=(1.5, 1.0, 2.0), intensity=WINDOW)
    model = make_model("model", CT, preprocess=crop, inference=InferenceConfig(roi_size=(16, 16, 16)))
    body = np.full((1, 30, 30, 30), -1000, np.float32)
    body[:, 5:24, 8:26, 4:20] = np.random.default_rng(0).normal(50, 60, (1, 19, 18, 16))
    result = exact(model).segment(Volume(body, Geometry(body.shape[1:], np.eye(4))), with_probabilities=True)
    outside = np.ones(body.shape[1:], bool)
    outside[5:24, 8:26, 4:20] = False
    assert (result.labels[outside] == 0).all()
    assert (result.probabilities[0][outside] == 1).all()
    np.testing.assert_allclose(result.probabilities.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("value", [0, -1000, 100])
def test_scan_without_contrast_is_no_trouble(make_model, value) -> None:
    for scheme in ("hu_window", "zscore_nonzero", "zscore"):
        preprocess = PreprocessConfig(intensity=IntensityConfig(scheme=scheme))
        model = make_model(scheme, CT, preprocess=preprocess, inference=InferenceConfig(roi_size=(8, 8, 8)))
        scan = Volume(np.full((1, 9, 8, 7), value, np.int16), Geometry((9, 8, 7), np.eye(4)))
        result = exact(model).segment(scan, with_probabilities=True)
        assert np.isfinite(result.probabilities).all()


def test_scan_of_the_caller_is_left_as_it_is(make_model) -> None:
    model = make_model("model", CT, inference=InferenceConfig(roi_size=(8, 8, 8)))
    scan = np.random.default_rng(0).normal(size=(1, 8, 8, 8)).astype(np.float32)
    before = scan.copy()
    labels = exact(model).predict_volume(Volume(scan, Geometry((8, 8, 8), np.eye(4))))
    assert labels.shape == (8, 8, 8)
    assert np.array_equal(scan, before)


def test_scan_with_other_channels_is_refused(make_model) -> None:
    model = make_model("model", CT, inference=InferenceConfig(roi_size=(8, 8, 8)))
    with pytest.raises(DataError, match="a scan with 2 channels where the model wants 1: CT"):
        exact(model).predict_volume(Volume(np.zeros((2, 8, 8, 8)), Geometry((8, 8, 8), np.eye(4))))


def test_label_values_above_255_are_written_as_they_are(make_threshold_model) -> None:
    scan = np.linspace(0, 1000, 8**3, dtype=np.float32).reshape(1, 8, 8, 8)
    predictor = exact(make_threshold_model(0, 1000, 200, label=1000))
    labels = predictor.predict_volume(Volume(scan, Geometry((8, 8, 8), np.eye(4))))
    assert np.array_equal(labels, np.where(scan[0] > 200, 1000, 0))


def test_models_that_do_not_go_together_are_refused(make_model) -> None:
    one = make_model("one", CT, preprocess=WHOLE, inference=ONE_WINDOW)
    spacing = make_model("spacing", CT, preprocess=PreprocessConfig(spacing_mm=(1, 1, 1)), inference=ONE_WINDOW)
    names = make_model(
        "names", Task(name="x", modality="CT", channels=("CT",), targets=exclusive("abc")), inference=ONE_WINDOW
    )
    with pytest.raises(ConfigError, match=r"spacing has another preprocess than the first model"):
        exact([one, spacing])
    with pytest.raises(ConfigError, match=r"names has another task than the first model"):
        exact([one, names])
    with pytest.raises(ConfigError, match=r"one is named twice"):
        exact([one, one.parent / "one/../one"])
    with pytest.raises(ConfigError, match="at least one"):
        exact([])


def test_run_folder_means_its_best_model(make_model) -> None:
    best = make_model("run/best", CT, inference=ONE_WINDOW)
    make_model("run/last", CT, inference=ONE_WINDOW, seed=1)
    (member,) = exact(best.parent).ensemble.members
    assert member.folder == best
    assert len(member.sha256) == 64


def test_options_stand_in_place_of_the_model_s_own(make_model) -> None:
    model = make_model("model", CT, inference=InferenceConfig(roi_size=(32, 32, 24), overlap=0.6, tta=True))
    (member,) = exact(model, roi_size=(16, 16, 16), tta=False).ensemble.members
    assert member.inference == InferenceConfig(roi_size=(16, 16, 16), overlap=0.6, tta=False)
    with pytest.raises(ConfigError, match="overlap: must lie in"):
        exact(model, overlap=1.0)
    with pytest.raises(ConfigError, match="accumulate: 'half' is not one of auto, float32, float16"):
        exact(model, accumulate="half")
    with pytest.raises(ConfigError, match="max_memory: '4' is no size"):
        exact(model, max_memory="4")
    with pytest.raises(ConfigError, match="the nearest that does is 16 16 24"):
        exact(model, roi_size=(18, 16, 24))


def test_mirror_images_along_x_have_exchanged_sides(make_model, lps_phantom) -> None:
    task = replace(CT, targets=exclusive(("kidney_l", "liver", "kidney_r")))
    inference = replace(ONE_WINDOW, mirror_axes=(0, 2), mirror_pairs=(("kidney_l", "kidney_r"),))
    model = make_model("model", task, preprocess=WHOLE, inference=inference)
    result = exact(model, tta=True).segment(read_image([lps_phantom]), with_probabilities=True)
    passes = [plain_scores(model, lps_phantom, mirrored) for mirrored in ((), (2,))]
    passes += [plain_scores(model, lps_phantom, mirrored)[[0, 3, 2, 1]] for mirrored in ((0,), (0, 2))]
    expected = softmax(np.mean(passes, axis=0))
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    without = exact(
        make_model("plain", task, preprocess=WHOLE, inference=replace(inference, mirror_pairs=())), tta=True
    )
    other = without.segment(read_image([lps_phantom]), with_probabilities=True)
    assert not np.allclose(other.probabilities, result.probabilities, atol=1e-3)


def test_a_mirrored_scan_gets_the_mirrored_prediction_with_exchanged_sides(make_model, lps_phantom) -> None:
    task = replace(CT, targets=exclusive(("kidney_l", "liver", "kidney_r")))
    inference = replace(ONE_WINDOW, mirror_axes=(0,), mirror_pairs=(("kidney_l", "kidney_r"),))
    predictor = exact(make_model("model", task, preprocess=WHOLE, inference=inference), tta=True)
    volume = read_image([lps_phantom])
    mirrored = replace(volume, array=np.ascontiguousarray(volume.array[:, ::-1]))
    one, other = (predictor.segment(of, with_probabilities=True).probabilities for of in (volume, mirrored))
    np.testing.assert_allclose(other, one[[0, 3, 2, 1]][:, ::-1], atol=1e-5)


def test_exchanged_regions_and_many_classes(make_model, lps_phantom) -> None:
    regions = replace(CT, targets=exclusive(("a_l", "a_r")), activation="sigmoid")
    many = replace(CT, targets=exclusive([f"rib_{side}_{number}" for number in range(8) for side in ("l", "r")]))
    volume = read_image([lps_phantom])
    for task, pairs in ((regions, [(0, 1)]), (many, [(2 * number, 2 * number + 1) for number in range(8)])):
        names = [target.name for target in task.targets]
        told = tuple((names[one], names[other]) for one, other in pairs)
        inference = replace(ONE_WINDOW, mirror_axes=(0,), mirror_pairs=told)
        model = make_model(task.activation, task, preprocess=WHOLE, inference=inference)
        predictor = exact(model, tta=True)
        (member,) = predictor.ensemble.members
        assert (member.backend.output, member.head) == ("scores", None)  # features have no sides
        result = predictor.segment(volume, with_probabilities=True)
        order = list(range(task.num_classes))
        for one, other in pairs:
            first, second = (each + task.num_classes - len(names) for each in (one, other))
            order[first], order[second] = second, first
        scores = np.mean([plain_scores(model, lps_phantom), plain_scores(model, lps_phantom, (0,))[order]], axis=0)
        expected = softmax(scores) if task is many else 1 / (1 + np.exp(-scores))
        np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
    # Without mirror images, fewer features are summed as ever.
    assert exact(model).ensemble.members[0].backend.output == "features"


def test_models_of_other_pairs_are_averaged_each_with_its_own(make_model, lps_phantom) -> None:
    task = replace(CT, targets=exclusive(("one", "liver", "two")))
    told = replace(task, pairs=(("one", "two"),))
    inference = replace(ONE_WINDOW, mirror_axes=(0,))
    one = make_model("one", task, preprocess=WHOLE, inference=inference)
    other = make_model("other", told, preprocess=WHOLE, inference=replace(inference, mirror_pairs=told.pairs), seed=1)
    volume = read_image([lps_phantom])
    together, *alone = (
        exact(models, tta=True).segment(volume, with_probabilities=True) for models in ([one, other], one, other)
    )
    np.testing.assert_allclose(
        together.probabilities, np.mean([result.probabilities for result in alone], axis=0), atol=1e-6
    )


def test_pairs_of_a_model_are_its_structures(make_model) -> None:
    with pytest.raises(ValueError, match="mirror_pairs: the task has no structure 'kidney'"):
        make_model("model", CT, inference=replace(ONE_WINDOW, mirror_pairs=(("liver", "kidney"),)))
    with pytest.raises(ValueError, match="mirror_pairs: names must differ"):
        replace(ONE_WINDOW, mirror_pairs=(("liver", "liver"),))
