"""Back to the grid of the source."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.errors import GeometryError
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry
from transforms.invert import to_source_grid
from transforms.labels import decode_activations
from transforms.preprocess import preprocessing

TASK = Task(name="ct", modality="CT", channels=("CT",), targets=exclusive(("one", "two")))
HU = IntensityConfig(scheme="hu_window", window=(-100, 300))


def scene(shape: tuple[int, int, int] = (30, 32, 28)) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """A body in air, and two ellipsoids in it, none of them in the middle."""
    voxels = np.indices(shape).transpose(1, 2, 3, 0) / np.array(shape)
    labels = np.zeros(shape, np.uint8)
    labels[(((voxels - (0.4, 0.45, 0.5)) / (0.18, 0.22, 0.25)) ** 2).sum(-1) < 1] = 1
    labels[(((voxels - (0.68, 0.5, 0.45)) / (0.12, 0.2, 0.2)) ** 2).sum(-1) < 1] = 2
    hu = np.full(shape, -1000, np.int16)
    hu[3:-2, 4:-5, 2:-4] = 0
    hu[labels > 0] = 100
    return hu, labels


def there(case: Case, config: PreprocessConfig) -> tuple[MetaTensor, torch.Tensor, Geometry]:
    """Image, one-hot label on its grid, source geometry."""
    prepared = preprocessing(config, TASK, with_label=True)({"case": case})
    label = prepared["label"][0].long()
    one_hot = torch.nn.functional.one_hot(label, 3).movedim(-1, 0).float()
    return prepared["image"], one_hot, prepared["geometry"]


@pytest.mark.parametrize("crop", [True, False])
def test_without_resampling_every_voxel_returns_to_its_place(
    make_case: Callable[..., Case], grid: NDArray[np.float64], crop: bool
) -> None:
    hu, labels = scene()
    image, maps, geometry = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, crop_foreground=crop))
    assert (tuple(sorted(image.shape[1:])) != tuple(sorted(hu.shape))) is crop
    back = to_source_grid(maps, image, geometry)
    assert back.shape == (3, *hu.shape)
    assert back.dtype == torch.float32
    np.testing.assert_array_equal(decode_activations(back, TASK).numpy(), labels)
    for value in (1, 2):
        np.testing.assert_array_equal(back[value].numpy(), labels == value)
    outside = back.sum(0) == 0
    assert bool(outside.any()) is crop
    assert not labels[outside.numpy()].any()


@pytest.mark.parametrize("spacing", [(1.43, 1.37, 1.87), (0.73, 0.93, 1.13)])
def test_with_resampling_labels_agree(
    make_case: Callable[..., Case], grid: NDArray[np.float64], spacing: tuple[float, float, float]
) -> None:
    hu, labels = scene((45, 48, 42))
    image, maps, geometry = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=spacing))
    back = decode_activations(to_source_grid(maps, image, geometry), TASK).numpy()
    for value in (1, 2):
        one, other = back == value, labels == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.9


def test_a_spacing_that_the_scan_has_already_changes_nothing(make_case: Callable[..., Case]) -> None:
    hu, labels = scene()
    image, maps, geometry = there(make_case(hu, labels), PreprocessConfig(intensity=HU, spacing_mm=(1, 1, 1)))
    back = decode_activations(to_source_grid(maps, image, geometry), TASK).numpy()
    np.testing.assert_array_equal(back, labels)


def test_a_field_comes_back_where_it_was(make_case: Callable[..., Case], grid: NDArray[np.float64]) -> None:
    # Scores linear in millimetres, drawn on the network's grid: on the source's grid they are the same function.
    hu, labels = scene()
    image, _, geometry = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=(1.5, 1.5, 2)))
    coordinates = torch.from_numpy(np.indices(tuple(image.shape[1:]))).double()
    affine = image.affine.double()
    field = (affine[0, :3, None, None, None] * coordinates).sum(0) + affine[0, 3]
    back = to_source_grid(field[None].float(), image, geometry)[0].numpy()
    truth = (grid[0, :3, None, None, None] * np.indices(hu.shape)).sum(0) + grid[0, 3]
    well_inside = np.zeros(hu.shape, bool)
    well_inside[6:-5, 7:-8, 5:-7] = True
    np.testing.assert_allclose(back[well_inside], truth[well_inside], atol=2e-2)


@pytest.mark.parametrize("spacing", [None, (2.0, 2.0, 2.0)])
def test_channels_can_be_brought_back_one_at_a_time(
    make_case: Callable[..., Case], grid: NDArray[np.float64], spacing: tuple[float, float, float] | None
) -> None:
    hu, labels = scene()
    image, maps, geometry = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=spacing))
    together = to_source_grid(maps, image, geometry)
    for index in range(3):
        assert torch.equal(to_source_grid(maps[index : index + 1], image, geometry)[0], together[index])


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (2.0, 2.0, 4.0)])
def test_one_slice_comes_back(
    make_case: Callable[..., Case], grid: NDArray[np.float64], spacing: tuple[float, float, float] | None
) -> None:
    hu, labels = scene()
    hu, labels = hu[:, :, 14:15], labels[:, :, 14:15]
    image, maps, geometry = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=spacing))
    back = decode_activations(to_source_grid(maps, image, geometry), TASK).numpy()
    assert back.shape == labels.shape
    for value in (1, 2):
        assert 2 * ((back == value) & (labels == value)).sum() / ((back == value).sum() + (labels == value).sum()) > 0.8


def test_maps_of_another_scan_are_refused(make_case: Callable[..., Case]) -> None:
    hu, labels = scene()
    image, maps, geometry = there(make_case(hu, labels), PreprocessConfig(intensity=HU))
    with pytest.raises(GeometryError, match="maps of"):
        to_source_grid(maps[:, 1:], image, geometry)
    with pytest.raises(GeometryError, match="beyond its source"):
        to_source_grid(maps, image, Geometry((5, 5, 5), geometry.affine))
    turned = geometry.affine.copy()
    turned[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    with pytest.raises(GeometryError, match="turned"):
        to_source_grid(maps, image, Geometry(geometry.shape, turned))
