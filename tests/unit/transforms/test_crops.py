"""Crops lie where MONAI's transforms would take them, and each structure is found however small."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.transforms import RandCropByPosNegLabeld, RandSpatialCropSamplesd

from swin_unetr.config import SamplingConfig
from swin_unetr.tasks import Target, Task, exclusive
from transforms.crops import ANY, PlaceAtRandom, ScanInMemory, Shifted, TakeCrops, class_mask, class_voxels

TASK = Task(name="ct", modality="CT", channels=("CT",), targets=exclusive(("one", "two", "three")))
SHAPE = (24, 26, 22)
SIZE = (6, 5, 4)


@pytest.fixture
def scan() -> ScanInMemory:
    """An image that tells the place; a large structure and a voxel of another, a third that is not there."""
    image = torch.arange(24 * 26 * 22, dtype=torch.float32).reshape(1, *SHAPE)
    label = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    label[:, 4:14, 5:15, 3:11] = 1
    label[:, 20, 20, 15] = 2
    return ScanInMemory(image, label)


def taken(scan, sampling: SamplingConfig, seed: int, task: Task = TASK) -> list[dict[str, torch.Tensor]]:
    return TakeCrops(sampling, task).set_random_state(seed=seed)(scan)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("number", [1, 3])
def test_crops_are_those_of_monai(scan, seed, number) -> None:
    # Of 8 bits, MONAI takes structures for background, too: `~` turns 1 into 254.
    values = {"image": scan.image, "label": scan.label.int()}
    anywhere = RandSpatialCropSamplesd(("image", "label"), roi_size=SIZE, num_samples=number, random_size=False)
    balanced = RandCropByPosNegLabeld(
        ("image", "label"), label_key="label", spatial_size=SIZE, pos=2, neg=1, num_samples=number
    )
    sampling = SamplingConfig(crop_size=SIZE, crops_per_scan=number, positive=2, negative=1)
    for scheme, monai in (("random", anywhere), ("positive_negative", balanced)):
        crops = taken(scan, replace(sampling, scheme=scheme), seed)
        wanted = monai.set_random_state(seed=seed)(values)
        assert len(crops) == len(wanted) == number
        for crop, other in zip(crops, wanted, strict=True):
            assert all(torch.equal(crop[key], other[key].as_tensor().to(crop[key].dtype)) for key in crop)


def centres(scan, positive: float, negative: float, task: Task = TASK) -> list[int]:
    sampling = SamplingConfig(
        crop_size=(1, 1, 1), scheme="classes", positive=positive, negative=negative, crops_per_scan=400
    )
    return [int(crop["label"][0]) for crop in taken(scan, sampling, 0, task)]


def test_each_structure_that_is_there_comes_as_often(scan) -> None:
    drawn = np.bincount(centres(scan, 2, 1), minlength=4) / 400
    np.testing.assert_allclose(drawn, [1 / 3, 1 / 3, 1 / 3, 0], atol=0.08)
    assert set(centres(scan, 1, 0)) == {1, 2}
    assert set(centres(scan, 0, 1)) == {0}


def test_a_scan_without_structures_or_background_is_cropped_all_the_same(scan) -> None:
    for value, found in ((0, {0}), (2, {2}), (255, {255})):
        scan.label[:] = value
        assert set(centres(scan, 1, 0)) == set(centres(scan, 0, 1)) == found


@pytest.mark.filterwarnings("ignore:Num foregrounds")
@pytest.mark.parametrize("scheme", ["positive_negative", "classes"])
def test_what_is_to_be_ignored_is_never_a_centre(scan, scheme) -> None:
    scan.label[:, :, :, 12:] = 255  # the second structure too
    sampling = SamplingConfig(crop_size=(1, 1, 1), scheme=scheme, crops_per_scan=300)
    assert {int(crop["label"][0]) for crop in taken(scan, sampling, 1)} == {0, 1}


def test_regions_have_a_channel_each() -> None:
    label = np.zeros((2, 4, 4, 4), np.uint8)
    label[0, :2] = 1
    label[1, 0, 0] = 1
    label[:, 3] = 255
    assert class_voxels(label, 2) == (16, 32, 4)
    assert np.count_nonzero(class_mask(label, ANY)) == 32
    targets = (Target(name="a", labels=(1, 2), write_as=1), Target(name="b", labels=(2,), write_as=2))
    task = Task(name="two", modality="CT", channels=("CT",), targets=targets, activation="sigmoid")
    crops = taken(
        ScanInMemory(torch.zeros(1, 4, 4, 4), torch.from_numpy(label)),
        SamplingConfig(crop_size=(1, 1, 1), scheme="classes", negative=0, crops_per_scan=200),
        0,
        task,
    )
    assert np.mean([int(crop["label"][1]) for crop in crops]) == pytest.approx(0.5 + 0.5 * 4 / 32, abs=0.1)


def test_a_scan_on_disk_is_placed_as_one_in_memory_is(scan) -> None:
    class Elsewhere:
        """What is not in memory: reads with zeros around it."""

        shape = scan.shape

        def crop(self, start, size):
            wide = ScanInMemory(*(torch.nn.functional.pad(part, [40] * 6) for part in (scan.image, scan.label)))
            return wide.crop([first + 40 for first in start], size)

        def places(self, which):
            return scan.places(which)

    size = (30, 10, 25)
    for seed in range(5):
        placed = PlaceAtRandom(size).set_random_state(seed=seed)(scan)
        shifted = PlaceAtRandom(size).set_random_state(seed=seed)(Elsewhere())
        assert isinstance(shifted, Shifted)
        assert shifted.shape == placed.shape == (30, 26, 25)
        assert all(
            np.array_equal(*pair)
            for pair in zip(shifted.crop((0, 3, 0), size), placed.crop((0, 3, 0), size), strict=True)
        )
        assert np.array_equal(shifted.places(1), placed.places(1))
