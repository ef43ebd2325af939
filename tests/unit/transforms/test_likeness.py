"""Scans of another kind than a model's: label maps, another modality or scale, another voxel size."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from swin_unetr.model_description import TrainingScans
from swin_unetr.tasks import BTCV, Task, exclusive
from transforms.geometry import Geometry, Volume
from transforms.io import read_stored
from transforms.likeness import describe_scans, unlike
from transforms.values import looks_like_labels

SHAPE = (20, 24, 16)
MR = Task(name="mr", modality="MR", channels=("T1",), targets=exclusive(("one",)))


def scan(low: float, high: float, seed: int = 0, dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(seed).uniform(low, high, SHAPE).astype(dtype)


def volume(*channels: NDArray[Any], spacing: float = 1.0) -> Volume:
    return Volume(np.stack(channels), Geometry(SHAPE, np.diag([spacing, spacing, spacing, 1])))


def known(tmp_path: Path, *arrays: NDArray[Any], spacing: float = 1.0) -> TrainingScans:
    paths = []
    for index, array in enumerate(arrays):
        paths.append((tmp_path / f"{index}.nii",))
        nibabel.save(nibabel.Nifti1Image(array, np.diag([spacing, spacing, spacing, 1])), paths[-1][0])
    found = describe_scans(paths)
    assert found is not None
    return found


def blocks(values: int) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    for value in range(1, values + 1):
        labels[4:16, 3 * value : 3 * value + 3, 2:14] = value
    return labels


def test_what_training_scans_have_in_common(tmp_path: Path) -> None:
    found = known(tmp_path, scan(-1024, 1000), scan(-1000, 3071, seed=1), spacing=0.8)
    (values,) = found.channels
    assert (found.looked_at, found.spacing_mm) == (2, (0.8, 0.8))
    assert values.lowest[0] == pytest.approx(-1014, abs=8)
    assert values.highest == pytest.approx((990, 3050), abs=20)
    assert describe_scans([(tmp_path / "none.nii",)]) is None
    assert describe_scans([]) is None


def test_a_ct_model_gets_a_ct(tmp_path: Path) -> None:
    training = known(tmp_path, scan(-1024, 1000), scan(-1000, 3071, seed=1))
    assert unlike(volume(scan(-1024, 1500, seed=2)), BTCV, training) == ()
    (words,) = unlike(volume(scan(0, 812)), BTCV, training)
    assert words.startswith("values from ")
    assert words.endswith("is it a CT in Hounsfield units?")
    assert "(training scans: -10" in words
    (alone,) = unlike(volume(scan(0, 812)), BTCV, None)
    assert "neither air nor fat" in alone
    # A model that was trained on a window of 0..1 knows nothing of Hounsfield units.
    windowed = known(tmp_path, scan(0, 1, dtype=np.float32), scan(0, 1, seed=1, dtype=np.float32))
    assert unlike(volume(scan(0, 1, seed=2, dtype=np.float32)), BTCV, windowed) == ()
    assert unlike(volume(scan(-1024, 1000)), BTCV, windowed)


def test_an_mr_model_gets_an_mr_of_its_scale(tmp_path: Path) -> None:
    training = known(tmp_path, scan(0, 500), scan(0, 4000, seed=1))
    for low, high in ((0, 300), (0, 9000), (-5, 700)):
        assert unlike(volume(scan(low, high)), MR, training) == ()
    for low, high in ((-1000, 1000), (0, 30), (0, 1e6)):
        (words,) = unlike(volume(scan(low, high, dtype=np.float32)), MR, training)
        assert words.endswith("is it of the same modality and scale?")
    assert unlike(volume(scan(-1000, 1000)), MR, None) == ()  # nothing is known


def test_the_channel_that_is_odd_is_named(tmp_path: Path) -> None:
    task = Task(name="two", modality="MR", channels=("T1", "FLAIR"), targets=exclusive(("one",)))
    four = np.stack([scan(0, 500), scan(0, 900, seed=1)], axis=-1)
    training = known(tmp_path, four)
    assert len(training.channels) == 2
    (words,) = unlike(volume(scan(0, 500).astype(np.float32), scan(-900, 90000, dtype=np.float32)), task, training)
    assert words.startswith("channel FLAIR: values from ")


def test_a_label_map_is_no_scan(tmp_path: Path) -> None:
    training = known(tmp_path, scan(-1024, 1000))
    for facts in (training, None):
        for dtype in (np.uint8, np.float32):
            (words,) = unlike(volume(blocks(5).astype(dtype)), BTCV, facts)
            assert words == "looks like a label map (5 different whole values besides 0), not a scan"
    scaled = blocks(3) * np.float64(1.00001)
    assert looks_like_labels(scaled) == 3
    assert looks_like_labels(blocks(3) - 1.0) is None
    assert looks_like_labels(np.zeros(SHAPE)) is None
    assert looks_like_labels(np.full(SHAPE, np.nan)) is None


def test_another_voxel_size(tmp_path: Path) -> None:
    training = known(tmp_path, scan(-1024, 1000), spacing=1.5)
    assert unlike(volume(scan(-1024, 1000), spacing=4.0), BTCV, training) == ()
    for spacing in (0.1, 9.0):
        (words,) = unlike(volume(scan(-1024, 1000), spacing=spacing), BTCV, training)
        assert words == (
            f"voxels of {spacing:g} x {spacing:g} x {spacing:g} mm (training scans: 1.5 to 1.5 mm); is the voxel "
            "size right?"
        )


def test_real_scans_are_told_from_label_maps(test_data: Path) -> None:
    for folder in ("Task04_Hippocampus/imagesTr", "ACDC/images", "OpenKBP/validation/images", "ct/volumes"):
        for path in sorted((test_data / folder).glob("[a-zA-Z]*.nii.gz"))[:6]:
            assert looks_like_labels(read_stored([path]).array[0]) is None, path
    for folder in ("Task04_Hippocampus/labelsTr", "ACDC/labels", "OpenKBP/validation/labels", "ct/labelled"):
        for path in sorted((test_data / folder).glob("[a-zA-Z]*.nii.gz"))[:6]:
            if "totalseg" in path.name or folder != "ct/labelled":
                assert looks_like_labels(read_stored([path]).array[0]) is not None, path
