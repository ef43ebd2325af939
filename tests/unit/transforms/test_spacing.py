"""Resampling for training with cubic images and linear labels, and which slices are thick."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacingd
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.datasets.case import Case
from swin_unetr.tasks import Target, Task, exclusive
from transforms.grids import spaced_grid
from transforms.linear import GridMap
from transforms.preprocess import preprocessing
from transforms.spacing import ResampleByAxis, largest_share, resampling
from transforms.steps import Resample

KEYS = ["image", "label"]


@pytest.mark.parametrize(
    ("own", "wanted", "orders"),
    [
        ((1.0, 1.0, 1.0), (1.5, 1.5, 2.0), (3, 3, 3)),
        ((0.8, 0.8, 5.0), (1.0, 1.0, 2.0), (3, 3, 0)),  # the scan's slices are thick
        ((1.0, 1.0, 1.0), (1.0, 1.0, 5.0), (3, 3, 0)),  # those that are wanted
        ((5.0, 0.8, 0.8), (1.0, 1.0, 5.0), (0, 3, 3)),  # the scan's count first, as in nnU-Net
        ((0.24, 1.25, 1.25), (0.24, 1.25, 1.25), (3, 3, 3)),  # two coarse axes are no slices
        ((1.0, 1.0, 3.0), (1.0, 1.0, 3.0), (3, 3, 3)),  # three times is not more than three times
        ((1.0, 1.0, 3.0000002), (1.0, 1.0, 3.0), (3, 3, 3)),  # nor is rounding
    ],
)
def test_thick_slices_are_those_of_nnunet(own, wanted, orders) -> None:
    assert Resample(wanted, image="cubic", through_plane="auto").image_orders(own) == orders
    linear = Resample(wanted, label="linear", through_plane="auto")
    assert linear.image_orders(own) == linear.label_orders(own) == tuple(min(order, 1) for order in orders)
    assert Resample(wanted, image="cubic").image_orders(own) == (3, 3, 3)
    assert Resample(wanted, through_plane="auto").label_orders(own) == (0, 0, 0)


def scan(affine: NDArray[np.float64]) -> dict[str, MetaTensor]:
    rng = np.random.default_rng(0)
    label = np.zeros((1, 13, 12, 9), np.float32)
    label[:, 2:8, 3:9, 1:7] = 1
    label[:, 4:11, 6:11, 3:5] = 4
    label[:, 9, 2, 2] = 7
    image = rng.normal(0, 100, (2, 13, 12, 9)).astype(np.float32)
    return {
        key: MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine))
        for key, array in (("image", image), ("label", label))
    }


def test_without_options_it_is_monais(grid: NDArray[np.float64]) -> None:
    assert type(resampling(Resample((1.1, 1.3, 1.7)), KEYS)) is Spacingd
    values = scan(np.abs(grid))
    expected = resampling(Resample((1.1, 1.3, 1.7)), KEYS)(values)
    cubic = resampling(Resample((1.1, 1.3, 1.7), image="cubic"), KEYS)(values)
    linear = resampling(Resample((1.1, 1.3, 1.7), label="linear"), KEYS)(values)
    assert torch.equal(cubic["label"], expected["label"])
    assert torch.equal(linear["image"], expected["image"])
    for found in (cubic, linear):
        for key in KEYS:
            assert found[key].shape == expected[key].shape
            np.testing.assert_allclose(found[key].affine, expected[key].affine, atol=1e-9)


def test_a_scan_of_the_wanted_voxel_size_stays_as_it_is() -> None:
    values = scan(np.diag([1.1, 1.3, 1.7, 1.0]))
    step = Resample((1.1, 1.3, 1.7), image="cubic", label="linear", through_plane="auto")
    found = ResampleByAxis(step, KEYS)(values)
    assert all(torch.equal(found[key].as_tensor(), values[key].as_tensor()) for key in KEYS)


def shares(label: NDArray[np.float32], grid: GridMap, orders: tuple[int, int, int]) -> dict[int, NDArray[np.float64]]:
    """Of each value, by scipy: linear, or of the nearest plane along the axes of order 0."""
    at = [
        np.clip(grid.matrix[axis, axis] * np.arange(size) + grid.matrix[axis, 3], 0, label.shape[axis] - 1)
        for axis, size in enumerate(grid.target_shape)
    ]
    at = [np.floor(each + 0.5 + 1e-6) if order == 0 else each for each, order in zip(at, orders, strict=True)]
    where = np.stack(np.meshgrid(*at, indexing="ij"))
    return {
        int(value): map_coordinates((label == value).astype(np.float64), where, order=1, mode="nearest")
        for value in np.unique(label)
    }


@pytest.mark.parametrize("orders", [(1, 1, 1), (1, 1, 0), (0, 1, 1)])
@pytest.mark.parametrize("wanted", [(0.8, 0.9, 0.7), (1.7, 1.4, 2.1), (0.5, 0.5, 0.5)])
def test_the_label_with_the_largest_share_wins(wanted, orders) -> None:
    affine = np.eye(4)
    label = scan(affine)["label"].as_tensor()
    shape, moved = spaced_grid(affine, (13, 12, 9), wanted)
    grid = GridMap(np.linalg.solve(affine, moved), shape, ((0, 13), (0, 12), (0, 9)), orders)
    found = largest_share(label, grid)[0].numpy()
    by_value = shares(label[0].numpy(), grid, orders)
    won = np.max(list(by_value.values()), axis=0)
    mine = np.select([found == value for value in by_value], list(by_value.values()))
    np.testing.assert_allclose(mine, won, atol=3e-5)
    assert (found == np.array(list(by_value))[np.argmax(list(by_value.values()), axis=0)]).mean() > 0.8


def test_where_voxels_are_halved_structures_neither_grow_nor_shrink() -> None:
    """Every second voxel lies half-way between two: all of the ties lost, or won, would move every surface."""
    label = torch.zeros(1, 40, 40, 40)
    label[:, 10:30, 10:30, 10:30] = 1
    shape, moved = spaced_grid(np.eye(4), (40, 40, 40), (0.5, 0.5, 0.5))
    found = largest_share(label, GridMap(moved, shape, ((0, 40),) * 3, (1, 1, 1)))
    assert float(found.sum()) / 8 == pytest.approx(20**3, rel=0.03)


def test_surfaces_are_smoother_than_of_nearest_voxels() -> None:
    """A ball of thick voxels, twelve times as fine: linear shares overlap more with the true ball."""

    def ball(step: float, size: int) -> torch.Tensor:
        x, y, z = torch.meshgrid(*(torch.arange(size) * step for _ in range(3)), indexing="ij")
        return (((x - 24) ** 2 + (y - 24) ** 2 + (z - 24) ** 2) < 15**2).float()[None]

    coarse = ball(4.0, 13)
    shape, moved = spaced_grid(np.diag([4.0, 4, 4, 1]), (13, 13, 13), (1.0, 1.0, 1.0))
    grid = GridMap(np.linalg.solve(np.diag([4.0, 4, 4, 1]), moved), shape, ((0, 13),) * 3, (1, 1, 1))
    nearest = GridMap(grid.matrix, shape, grid.bounds, (0, 0, 0))
    truth = ball(1.0, shape[0])[0]

    def dice(found: torch.Tensor) -> float:
        return float(2 * (found * truth).sum() / (found.sum() + truth.sum()))

    whole = tuple((0, size) for size in shape)
    assert dice(largest_share(coarse, grid)[0]) > dice(nearest.sample(coarse, (0, 0, 0), whole)[0]) + 0.01  # type: ignore[arg-type]


def test_ignored_voxels_and_regions_take_part(make_case: Callable[..., Case]) -> None:
    labels = np.zeros((12, 12, 12), np.int16)
    labels[2:8, 2:8, 2:8] = 1
    labels[4:6, 4:6, 4:6] = 2
    labels[9:] = 9
    case = make_case(np.random.default_rng(0).normal(0, 1, (12, 12, 12)).astype(np.float32), labels)
    options: dict[str, Any] = {"spacing_mm": (0.7, 0.8, 1.2), "intensity": IntensityConfig(scheme="zscore")}
    config = PreprocessConfig(label_interpolation="linear", crop_foreground=False, **options)
    exclusives = Task(name="t", modality="MR", channels=("T1",), targets=exclusive(("a", "b")), ignore_label=9)
    found = preprocessing(config, exclusives, with_label=True)({"case": case})["label"]
    assert set(torch.unique(found).tolist()) == {0, 1, 2, 255}
    nested = (Target(name="whole", labels=(1, 2), write_as=1), Target(name="core", labels=(2,), write_as=2))
    regions = Task(name="t", modality="MR", channels=("T1",), targets=nested, activation="sigmoid", ignore_label=9)
    both = preprocessing(config, regions, with_label=True)({"case": case})["label"]
    assert torch.equal(both[0] == 255, found[0] == 255)
    assert torch.equal(both[0] == 1, (found[0] == 1) | (found[0] == 2))
    assert torch.equal(both[1] == 1, found[0] == 2)


def test_a_structure_between_the_planes_of_a_coarser_grid_is_lost_and_no_error() -> None:
    label = torch.zeros(1, 9, 9, 9)
    label[:, 3, 3, 3] = 5
    grid = GridMap(np.diag([4.0, 4, 4, 1]), (3, 3, 3), ((0, 9),) * 3, (1, 1, 1))
    assert not largest_share(label, grid).any()
