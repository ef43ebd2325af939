"""There and back on real scans: anisotropic, sheared (CT_pitch), stored in LPS, of 41 structures, nested regions."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.case import Case
from swin_unetr.tasks import Task, brats, exclusive
from transforms.io import read_image, read_labels, read_stored
from transforms.labels import decode_activations
from transforms.prepare import prepare
from transforms.preprocess import preprocessing

VOLUMES = ("CT_AVM", "CT_pitch", "aorta_cropped", "pulmonary_cropped", "torso_3mm")


def there_and_back(case: Case, task: Task, config: PreprocessConfig) -> NDArray[np.int64]:
    """Labels preprocessed as targets, then brought back as if the network had found them."""
    prepared = preprocessing(config, task, with_label=True)({"case": case})
    image, targets = prepared["image"], prepared["label"]
    assert image.shape[1:] == targets.shape[1:]
    assert torch.isfinite(image.as_tensor()).all()
    if task.activation == "softmax":
        targets = torch.nn.functional.one_hot(targets[0].long(), task.num_classes).movedim(-1, 0)
    ours = prepare(read_stored(case.images), config)
    np.testing.assert_allclose(ours.image.numpy(), image.numpy(), atol=2e-5 * max(1.0, float(image.abs().max())))
    x, y, z = ours.grids.native_shape
    box = ((0, x), (0, y), (0, z))
    maps = np.zeros((len(targets), *ours.grids.source_shape), np.float32)
    ours.grids.place(ours.grids.interpolate(targets.float(), (0, 0, 0), box).numpy(), box, maps)
    back: NDArray[np.int64] = decode_activations(torch.from_numpy(maps), task).numpy()
    return back


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.fixture
def with_blocks(test_data: Path, tmp_path: Path) -> Callable[[str], tuple[Case, Task]]:
    """A CT with blocks of some 20 voxels as labels; one of them reaches the border."""

    def make(name: str) -> tuple[Case, Task]:
        path = test_data / "ct" / "volumes" / f"{name}.nii.gz"
        image = nibabel.load(path)
        thirds = [np.minimum(np.arange(size) * 4 // size, 3) for size in image.shape]
        x, y, z = np.meshgrid(*thirds, indexing="ij")
        labels = np.select([(x == 1) & (y == 1) & (z >= 1), (x == 2) & (y == 2) & (z <= 2)], [1, 2]).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(labels, image.affine, image.header), tmp_path / "labels.nii")
        task = Task(name="blocks", modality="CT", channels=("CT",), targets=exclusive(("one", "two")))
        return Case(id=name, images=(path,), label=tmp_path / "labels.nii"), task

    return make


@pytest.mark.parametrize("name", VOLUMES)
def test_labels_of_a_ct_come_back(with_blocks: Callable[[str], tuple[Case, Task]], name: str) -> None:
    case, task = with_blocks(name)
    assert case.label is not None
    labels = read_labels(case.label).array[0]
    whole = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(-1e6, 1e6)), crop_foreground=True)
    np.testing.assert_array_equal(there_and_back(case, task, whole), labels)
    spacing = (2.0, 2.0, 2.5) if name != "torso_3mm" else (3.4, 2.6, 4.0)
    resampled = PreprocessConfig(intensity=whole.intensity, crop_foreground=False, spacing_mm=spacing)
    back = there_and_back(case, task, resampled)
    for value in (1, 2):
        assert dice(back == value, labels == value) >= 0.95


@pytest.mark.parametrize("name", VOLUMES)
def test_the_foreground_crop_leaves_out_air_alone(with_blocks: Callable[[str], tuple[Case, Task]], name: str) -> None:
    case, task = with_blocks(name)
    assert case.label is not None
    config = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(-175, 250)))
    back, labels = there_and_back(case, task, config), read_labels(case.label).array[0]
    lost = back != labels
    assert not (read_image(case.images).array[0][lost] > -175).any()
    np.testing.assert_array_equal(back[~lost], labels[~lost])


def test_forty_one_of_117_structures(test_data: Path) -> None:
    folder = test_data / "ct" / "labelled"
    case = Case(id="torso", images=(folder / "torso_sm_ct.nii.gz",), label=folder / "torso_sm_totalseg117.nii.gz")
    task = Task(name="torso", modality="CT", channels=("CT",), targets=exclusive(map(str, range(1, 118))))
    assert case.label is not None
    labels = read_labels(case.label).array[0]
    assert len(np.unique(labels)) == 42
    config = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(-1000, 1000)))
    np.testing.assert_array_equal(there_and_back(case, task, config), labels)


def test_regions_of_tumours(test_data: Path) -> None:
    dataset = read_dataset(test_data / "brats2013", require_labels=True)
    task = brats("brats2013", ("FLAIR", "T1ce"))
    for case in dataset.cases[:2]:
        assert case.label is not None
        labels = read_labels(case.label).array[0]
        back = there_and_back(case, task, PreprocessConfig())
        np.testing.assert_array_equal(back, np.where(labels == 3, 1, labels))  # one core of the two kinds
        for target in task.targets:
            np.testing.assert_array_equal(np.isin(back, target.labels), np.isin(labels, target.labels))


def test_hippocampi_of_either_type_on_disk_end_up_on_one_scale(test_data: Path) -> None:
    dataset = read_dataset(test_data / "Task04_Hippocampus", require_labels=True)
    assert dataset.task is not None
    config = PreprocessConfig(intensity=IntensityConfig(scheme="zscore"), crop_foreground=False)
    chain = preprocessing(config, dataset.task, with_label=True)
    by_type: dict[str, Case] = {}
    for case in dataset.cases:
        by_type.setdefault(str(nibabel.load(case.images[0]).get_data_dtype()), case)
    assert len(by_type) > 1
    for case in by_type.values():
        image = chain({"case": case})["image"]
        assert float(image.mean()) == pytest.approx(0, abs=1e-4)
        assert float(image.std()) == pytest.approx(1, abs=1e-2)
