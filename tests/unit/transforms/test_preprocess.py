"""From files to what the network sees."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.errors import DataError, GeometryError, SwinUnetrError
from swin_unetr.tasks import Task, brats, exclusive
from transforms.geometry import Geometry, Volume
from transforms.io import read_image
from transforms.preprocess import preprocess_volume, preprocessing

CT = Task(name="ct", modality="CT", channels=("CT",), targets=exclusive(("one", "two")))
HU = IntensityConfig(scheme="hu_window", window=(-100, 300))
PLAIN = PreprocessConfig(intensity=IntensityConfig(scheme="zscore"), crop_foreground=False)


def prepare(case: Case, config: PreprocessConfig, task: Task = CT) -> dict[str, MetaTensor]:
    prepared: dict[str, MetaTensor] = preprocessing(config, task, with_label=case.label is not None)({"case": case})
    return prepared


def refusal(case: Case, config: PreprocessConfig = PLAIN, task: Task = CT) -> SwinUnetrError:
    """What a user is told."""
    with pytest.raises(SwinUnetrError) as caught:
        prepare(case, config, task)
    assert "\n" not in str(caught.value)
    return caught.value


def points(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """RAS millimetres of every voxel, 3 x X x Y x Z."""
    indices = np.indices(shape).reshape(3, -1)
    placed: NDArray[np.float64] = (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, *shape)
    return placed


def test_every_voxel_stays_at_its_place_in_the_patient(
    make_case: Callable[..., Case], grid: NDArray[np.float64]
) -> None:
    # Each channel of the image holds a coordinate of its voxels: after the turn it must still be the truth.
    shape = (7, 8, 9)
    task = Task(name="xyz", modality="MR", channels=("x", "y", "z"), targets=exclusive(("one",)))
    where = points(grid, shape)
    case = make_case(where.astype(np.float32), affine=grid)
    volume = read_image(case.images)
    image = preprocess_volume(volume, PLAIN)
    assert image.shape[0] == len(task.channels)
    affine = image.affine.numpy()
    assert Geometry(tuple(image.shape[1:]), affine).orientation == "RAS"
    expected = points(affine, tuple(image.shape[1:]))
    for channel in range(3):
        told = (expected[channel] - where[channel].mean()) / where[channel].std()
        np.testing.assert_allclose(image[channel].numpy(), told, atol=1e-4)


def test_resampled_voxels_hold_what_lies_at_their_place(
    make_case: Callable[..., Case], grid: NDArray[np.float64]
) -> None:
    # A field that is linear in millimetres survives linear interpolation exactly, away from the border.
    shape = (16, 15, 14)
    field = points(grid, shape)[0]
    case = make_case(field.astype(np.float32), affine=grid)
    image = prepare(case, PreprocessConfig(spacing_mm=(1.5, 1.0, 2.0), intensity=HU, crop_foreground=False))["image"]
    spacing = Geometry(tuple(image.shape[1:]), image.affine.numpy()).spacing_mm
    np.testing.assert_allclose(spacing, (1.5, 1.0, 2.0), rtol=1e-3)
    truth = np.clip((points(image.affine.numpy(), tuple(image.shape[1:]))[0] + 100) / 400, 0, 1)
    into_source = np.linalg.inv(grid) @ image.affine.numpy()
    indices = points(into_source, tuple(image.shape[1:]))
    within = np.all([(indices[axis] >= 0) & (indices[axis] <= shape[axis] - 1) for axis in range(3)], axis=0)
    assert within.mean() > 0.3
    np.testing.assert_allclose(image[0].numpy()[within], truth[within], atol=1e-3)


def test_image_and_label_end_up_voxel_on_voxel(make_case: Callable[..., Case], grid: NDArray[np.float64]) -> None:
    labels = np.zeros((20, 22, 18), np.int16)
    labels[4:12, 5:15, 3:9] = 1
    labels[12:18, 5:15, 9:15] = 2
    case = make_case(100.0 * labels.astype(np.float32), labels, grid)
    for spacing in (None, (1.5, 1.0, 2.0)):
        config = PreprocessConfig(
            spacing_mm=spacing, intensity=IntensityConfig(scheme="hu_window", window=(0, 200)), crop_foreground=True
        )
        prepared = prepare(case, config)
        image, label = prepared["image"], prepared["label"]
        assert image.shape == label.shape
        assert label.dtype == torch.uint8
        assert set(np.unique(label)) == {0, 1, 2}
        agree = ((image * 2).round() == label).float().mean()
        assert agree == 1 if spacing is None else agree > 0.9


def test_a_label_that_differs_by_rounding_stays_on_its_scan(make_case: Callable[..., Case]) -> None:
    labels = np.arange(5 * 6 * 7).reshape(5, 6, 7) % 3
    rounded = np.eye(4) * 1.5
    rounded[3, 3] = 1
    slightly = rounded.copy()
    slightly[:3, 3] += 0.02
    case = make_case(labels.astype(np.float32), labels.astype(np.int16), rounded, slightly)
    prepared = prepare(case, PLAIN)
    np.testing.assert_array_equal(prepared["label"][0].numpy(), labels)


def test_hounsfield_units_become_0_to_1(make_case: Callable[..., Case]) -> None:
    hu = np.array([-1000, -100, 100, 300, 3000], np.float32).reshape(5, 1, 1)
    image = prepare(make_case(hu), PreprocessConfig(intensity=HU, crop_foreground=False))["image"]
    np.testing.assert_allclose(image.flatten().numpy(), (0, 0, 0.5, 1, 1), atol=1e-6)


def test_z_scores_by_channel(make_case: Callable[..., Case]) -> None:
    rng = np.random.default_rng(0)
    channels = rng.normal((100.0, 7.0), (20.0, 3.0), (8, 8, 8, 2)).transpose(3, 0, 1, 2).astype(np.float32)
    channels[:, :4] = 0
    task = brats(channels=("FLAIR", "T1ce"))
    keep = PreprocessConfig(intensity=IntensityConfig(scheme="zscore_nonzero"), crop_foreground=False)
    image = prepare(make_case(channels), keep, task)["image"].numpy()
    for index in range(2):
        inside = channels[index, 4:].astype(np.float64)
        np.testing.assert_allclose(image[index, 4:], (inside - inside.mean()) / inside.std(), atol=1e-4)
        assert not image[index, :4].any()  # background stays 0
    whole = prepare(make_case(channels), PLAIN, task)["image"].numpy()
    np.testing.assert_allclose(whole.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(whole.std((1, 2, 3)), 1, atol=1e-4)


def test_the_crop_is_the_box_of_what_any_channel_shows(make_case: Callable[..., Case]) -> None:
    channels = np.zeros((2, 10, 11, 12), np.float32)
    channels[0, 2:5, 3:7, 4:8] = 5
    channels[1, 4:8, 2:5, 6] = -3  # below 0 is shown too
    image = prepare(make_case(channels), PreprocessConfig(), brats(channels=("FLAIR", "T1ce")))["image"]
    assert image.shape == (2, 6, 5, 4)
    np.testing.assert_allclose(image.affine.numpy()[:3, 3], (-31.3 + 2, 55.1 + 2, 203.7 + 4), atol=1e-4)


def test_the_crop_of_ct_begins_above_the_window(make_case: Callable[..., Case]) -> None:
    hu = np.full((9, 9, 9), -1000, np.int16)
    hu[0] = -100  # the bound itself is not above it
    hu[3:6, 2:8, 1:5] = 40
    image = prepare(make_case(hu), PreprocessConfig(intensity=HU))["image"]
    assert image.shape == (1, 3, 6, 4)


@pytest.mark.parametrize("scheme", ["hu_window", "zscore", "zscore_nonzero"])
@pytest.mark.parametrize("value", [0, 7, -5000])
@pytest.mark.parametrize("crop", [True, False])
def test_scans_that_show_nothing_are_kept_whole_and_finite(
    make_case: Callable[..., Case], scheme: str, value: int, crop: bool
) -> None:
    config = PreprocessConfig(
        spacing_mm=(2, 2, 2),
        intensity=IntensityConfig(scheme=scheme),
        crop_foreground=crop,  # type: ignore[arg-type]
    )
    prepared = prepare(make_case(np.full((6, 7, 8), value, np.int16), np.zeros((6, 7, 8), np.uint8)), config)
    assert prepared["image"].shape == prepared["label"].shape == (1, 4, 4, 4)
    assert torch.isfinite(prepared["image"]).all()


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (2.0, 2.0, 4.0)])
def test_one_slice(
    make_case: Callable[..., Case], grid: NDArray[np.float64], spacing: tuple[float, ...] | None
) -> None:
    labels = np.zeros((20, 21, 1), np.uint8)
    labels[5:15, 5:15] = 1
    config = PreprocessConfig(spacing_mm=spacing, intensity=HU, crop_foreground=False)  # type: ignore[arg-type]
    prepared = prepare(make_case(200 * labels.astype(np.int16), labels, grid), config)
    assert prepared["image"].shape == prepared["label"].shape
    assert torch.isfinite(prepared["image"]).all()
    assert prepared["label"].any()


def test_targets_of_regions(make_case: Callable[..., Case]) -> None:
    labels = np.array([0, 1, 2, 4], np.uint8).reshape(4, 1, 1)
    case = make_case(np.ones((4, 4, 1, 1), np.float32), labels)
    label = prepare(case, PLAIN, brats("brats2021"))["label"]
    np.testing.assert_array_equal(label[..., 0, 0].numpy(), [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]])


def test_in_memory_it_is_the_same_and_leaves_the_scan_alone(
    make_case: Callable[..., Case], grid: NDArray[np.float64]
) -> None:
    array = np.random.default_rng(0).normal(0, 200, (9, 10, 11)).astype(np.float32)
    case = make_case(array, affine=grid)
    for config in (PLAIN, PreprocessConfig(intensity=HU), PreprocessConfig(spacing_mm=(2, 2, 2))):
        volume = read_image(case.images)
        image = preprocess_volume(volume, config)
        assert torch.equal(image.as_tensor(), prepare(case, config)["image"].as_tensor())
        np.testing.assert_array_equal(volume.array[0], array)


def test_the_source_s_geometry_comes_along(make_case: Callable[..., Case], grid: NDArray[np.float64]) -> None:
    geometry = prepare(make_case(np.ones((5, 6, 7), np.float32), affine=grid), PLAIN)["geometry"]
    assert isinstance(geometry, Geometry)
    assert geometry.difference(Geometry((5, 6, 7), grid)) is None


def test_what_cannot_be_used(make_case: Callable[..., Case], tmp_path: Path) -> None:
    image, labels = np.ones((5, 6, 7), np.float32), np.zeros((5, 6, 7), np.int16)
    moved = np.eye(4)
    moved[0, 3] = 5
    error = refusal(make_case(image, labels, np.eye(4), moved))
    assert isinstance(error, GeometryError)
    assert str(error).startswith(f"{tmp_path / 'label.nii'}: ")
    assert isinstance(refusal(make_case(image, labels[1:])), GeometryError)
    labels[0, 0, 0], labels[1, 1, 1] = 9, 3
    error = refusal(make_case(image, labels))
    assert isinstance(error, DataError)
    assert str(error).startswith(f"{tmp_path / 'label.nii'}: holds label values [3, 9] that task 'ct' does not know")
    error = refusal(make_case(np.ones((2, 5, 6, 7), np.float32)))
    assert isinstance(error, DataError)
    assert "2" in str(error)
    with pytest.raises(DataError, match="has no label file"):
        preprocessing(PLAIN, CT, with_label=True)({"case": Case(id="a", images=make_case(image).images)})


def test_channels_of_a_volume_in_memory_of_any_type() -> None:
    volume = Volume(np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4), Geometry((2, 3, 4), np.eye(4)))
    image = preprocess_volume(volume, PLAIN)
    assert image.dtype == torch.float32
    assert abs(float(image.mean())) < 1e-6


def test_a_mistake_in_a_step_is_not_taken_for_one_of_the_user_s(make_case: Callable[..., Case]) -> None:
    case = make_case(np.ones((5, 6, 7), np.float32))
    with pytest.raises(RuntimeError, match="applying transform") as caught:
        preprocessing(PLAIN, CT, with_label=False)({"case": case.images})
    assert isinstance(caught.value.__cause__, AttributeError)
