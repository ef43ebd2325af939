"""Back to the grid of the source, whole and in boxes, with MONAI's resampling as the oracle."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SpatialResample
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.tasks import Task, exclusive
from transforms.geometry import Geometry
from transforms.grids import Grids, Turn
from transforms.io import read_stored
from transforms.labels import decode_activations
from transforms.linear import Box, GridMap
from transforms.prepare import prepare
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


def in_box(maps: torch.Tensor, grids: Grids, box: Box) -> torch.Tensor:
    """Scores in a box of the native grid, from no more of the prepared ones than it needs."""
    needed = [grids.needed(axis, range(*ends)) for axis, ends in enumerate(box)]
    x, y, z = (slice(*ends) for ends in needed)
    return grids.interpolate(maps[:, x, y, z], (needed[0][0], needed[1][0], needed[2][0]), box)


def whole(grids: Grids) -> Box:
    x, y, z = grids.native_shape
    return (0, x), (0, y), (0, z)


def brought_back(maps: torch.Tensor, grids: Grids) -> torch.Tensor:
    """Scores on the file's grid; 0 where the crop left voxels out."""
    out = np.zeros((len(maps), *grids.source_shape), np.float32)
    box = whole(grids)
    grids.place(in_box(maps, grids, box).numpy(), box, out)
    return torch.from_numpy(out)


def there(case: Case, config: PreprocessConfig) -> tuple[MetaTensor, torch.Tensor, Grids]:
    """Image and one-hot label as training has them, and prediction's way back."""
    prepared = preprocessing(config, TASK, with_label=True)({"case": case})
    label = prepared["label"][0].long()
    one_hot = torch.nn.functional.one_hot(label, 3).movedim(-1, 0).float()
    return prepared["image"], one_hot, prepare(read_stored(case.images), config).grids


@pytest.mark.parametrize("crop", [True, False])
def test_without_resampling_every_voxel_returns_to_its_place(
    make_case: Callable[..., Case], grid: NDArray[np.float64], crop: bool
) -> None:
    hu, labels = scene()
    image, maps, grids = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, crop_foreground=crop))
    assert (tuple(sorted(image.shape[1:])) != tuple(sorted(hu.shape))) is crop
    back = brought_back(maps, grids)
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
    _, maps, grids = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=spacing))
    back = decode_activations(brought_back(maps, grids), TASK).numpy()
    for value in (1, 2):
        one, other = back == value, labels == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.9


def test_a_spacing_that_the_scan_has_already_changes_nothing(make_case: Callable[..., Case]) -> None:
    hu, labels = scene()
    _, maps, grids = there(make_case(hu, labels), PreprocessConfig(intensity=HU, spacing_mm=(1, 1, 1)))
    back = decode_activations(brought_back(maps, grids), TASK).numpy()
    np.testing.assert_array_equal(back, labels)


def test_a_field_comes_back_where_it_was(make_case: Callable[..., Case], grid: NDArray[np.float64]) -> None:
    # Scores linear in millimetres, drawn on the network's grid: on the source's grid they are the same function.
    hu, labels = scene()
    image, _, grids = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=(1.5, 1.5, 2)))
    coordinates = torch.from_numpy(np.indices(tuple(image.shape[1:]))).double()
    affine = image.affine.double()
    field = (affine[0, :3, None, None, None] * coordinates).sum(0) + affine[0, 3]
    back = brought_back(field[None].float(), grids)[0].numpy()
    truth = (grid[0, :3, None, None, None] * np.indices(hu.shape)).sum(0) + grid[0, 3]
    well_inside = np.zeros(hu.shape, bool)
    well_inside[6:-5, 7:-8, 5:-7] = True
    np.testing.assert_allclose(back[well_inside], truth[well_inside], atol=2e-2)


@pytest.mark.parametrize("spacing", [None, (2.0, 2.0, 2.0)])
def test_channels_can_be_brought_back_one_at_a_time(
    make_case: Callable[..., Case], grid: NDArray[np.float64], spacing: tuple[float, float, float] | None
) -> None:
    hu, labels = scene()
    _, maps, grids = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=spacing))
    together = brought_back(maps, grids)
    for index in range(3):
        assert torch.equal(brought_back(maps[index : index + 1], grids)[0], together[index])


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (2.0, 2.0, 4.0)])
def test_one_slice_comes_back(
    make_case: Callable[..., Case], grid: NDArray[np.float64], spacing: tuple[float, float, float] | None
) -> None:
    hu, labels = scene()
    hu, labels = hu[:, :, 14:15], labels[:, :, 14:15]
    _, maps, grids = there(make_case(hu, labels, grid), PreprocessConfig(intensity=HU, spacing_mm=spacing))
    back = decode_activations(brought_back(maps, grids), TASK).numpy()
    assert back.shape == labels.shape
    for value in (1, 2):
        assert 2 * ((back == value) & (labels == value)).sum() / ((back == value).sum() + (labels == value).sum()) > 0.8


@pytest.mark.parametrize("spacing", [(1.43, 1.37, 1.87), (0.73, 0.93, 1.13), (2.0, 1.0, 4.0)])
@pytest.mark.parametrize("shape", [(21, 24, 18), (20, 17, 1), (1, 19, 22)])
def test_equals_monai_s_resampling(
    grid: NDArray[np.float64], spacing: tuple[float, float, float], shape: tuple[int, int, int]
) -> None:
    turn = Turn.to_ras(Geometry(shape, grid))
    x, y, z = turn.shape
    grids = Grids.of(turn, ((min(2, x - 1), x), (0, y), (0, max(z - 3, 1))), spacing)
    maps = torch.randn(3, *grids.prepared_shape, generator=torch.Generator().manual_seed(0))
    resample = SpatialResample(mode="bilinear", padding_mode="border", dtype=torch.float64)
    affine = torch.from_numpy(grids.prepared_affine)
    expected = resample(
        MetaTensor(maps, affine=affine),
        dst_affine=torch.from_numpy(grids.native_affine),
        spatial_size=grids.native_shape,
    )
    found = in_box(maps, grids, whole(grids))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


def test_a_voxel_is_the_same_to_the_last_bit_in_every_box(grid: NDArray[np.float64]) -> None:
    grids = Grids.of(Turn.to_ras(Geometry((30, 27, 25), grid)), ((0, 25), (0, 25), (0, 25)), (1.3, 1.7, 1.1))
    if not grids.map.parallel:
        pytest.skip("sheared grids are sampled by torch's grid_sample, equal to rounding")
    maps = torch.randn(2, *grids.prepared_shape, generator=torch.Generator().manual_seed(0))
    together = in_box(maps, grids, whole(grids))
    for box in (((0, 7), (3, 25), (11, 12)), ((7, 8), (0, 1), (0, 25)), ((5, 22), (9, 14), (1, 24))):
        x, y, z = (slice(*ends) for ends in box)
        assert torch.equal(in_box(maps, grids, box), together[:, x, y, z])


def test_a_sheared_grid_in_boxes_is_the_same_to_rounding() -> None:
    affine = np.diag([0.9, 0.9, 2.5, 1.0])
    affine[1, 2] = 0.7
    grids = Grids.of(Turn.to_ras(Geometry((30, 27, 25), affine)), ((0, 30), (0, 27), (0, 25)), (1.3, 1.7, 1.1))
    assert not grids.map.parallel
    maps = torch.randn(2, *grids.prepared_shape, generator=torch.Generator().manual_seed(0))
    together = in_box(maps, grids, whole(grids))
    part = in_box(maps, grids, ((5, 22), (9, 14), (1, 24)))
    np.testing.assert_allclose(part.numpy(), together[:, 5:22, 9:14, 1:24].numpy(), atol=2e-5)


def test_what_a_plane_needs_is_what_it_changes_with(grid: NDArray[np.float64]) -> None:
    grids = Grids.of(Turn.to_ras(Geometry((12, 13, 11), grid)), ((0, 11), (0, 11), (0, 11)), (1.3, 1.7, 1.1))
    for axis in range(3):
        for plane in (0, 4, 10):
            low, high = grids.needed(axis, range(plane, plane + 1))
            maps = torch.zeros(1, *grids.prepared_shape)
            maps.narrow(axis + 1, low, high - low).fill_(1)
            box = list(whole(grids))
            box[axis] = (plane, plane + 1)
            alone = grids.interpolate(maps, (0, 0, 0), (box[0], box[1], box[2]))
            np.testing.assert_allclose(alone.numpy(), 1, atol=1e-5)


def test_channels_and_labels_go_to_their_place_in_the_file(grid: NDArray[np.float64]) -> None:
    # What is placed are millimetres: on the file's grid they must be its own.
    geometry = Geometry((7, 8, 9), grid)
    grids = Grids.of(Turn.to_ras(geometry), ((1, 6), (0, 7), (2, 6)), None)

    def millimetres(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
        placed: NDArray[np.float64] = np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(shape))
        return placed + affine[:3, 3, None, None, None]

    out = np.full((3, 7, 8, 9), np.nan)
    native = millimetres(grids.native_affine, grids.native_shape)
    for part in ((0, 2), (2, 4)):
        box = ((0, 5), (0, 7), part)
        grids.place(native[..., slice(*part)], box, out)
    kept = ~np.isnan(out).any(axis=0)
    assert kept.sum() == 5 * 7 * 4
    np.testing.assert_allclose(out[:, kept], millimetres(grid, (7, 8, 9))[:, kept], atol=1e-9)


def test_the_nearest_voxel_counts_beyond_the_bounds() -> None:
    matrix = np.eye(4)
    matrix[0, 3] = -2
    grid = GridMap(matrix, (8, 1, 1), ((1, 4), (0, 1), (0, 1)))
    values = torch.arange(6.0).view(1, 6, 1, 1)
    found = grid.sample(values, (0, 0, 0), ((0, 8), (0, 1), (0, 1)))
    assert found.flatten().tolist() == [1, 1, 1, 1, 2, 3, 3, 3]
    assert grid.needed(0, range(0, 3)) == (1, 2)
