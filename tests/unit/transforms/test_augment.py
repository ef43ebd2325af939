"""Random crops and changes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from augmentations import ALL, NONE
from hypothesis import given, settings
from hypothesis import strategies as st

from swin_unetr.config import AugmentConfig, SamplingConfig
from swin_unetr.tasks import Target, Task, brats, exclusive
from transforms.augment import change
from transforms.crops import WIDE, RandomCrops, ScanInMemory
from transforms.labels import IGNORED
from transforms.random_parameters import changes_of

TASK = Task(name="ct", modality="CT", channels=("CT",), targets=exclusive(("one", "two")))
CROP = (16, 20, 12)


def scan(shape: tuple[int, int, int] = (24, 26, 22), seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    label[:, 4:14, 5:15, 3:11] = 1
    label[:, 8:14, 9:15, 6:11] = 2
    return {"image": torch.rand((1, *shape), generator=generator), "label": label}


def twin(shape: tuple[int, int, int] = CROP) -> dict[str, torch.Tensor]:
    """A label whose image shows the same."""
    label = scan(shape)["label"]
    return {"image": label.float(), "label": label}


def draw(
    values: dict[str, torch.Tensor],
    augment: AugmentConfig,
    seed: int = 0,
    sampling: SamplingConfig | None = None,
    task: Task = TASK,
) -> list[dict[str, torch.Tensor]]:
    crops = RandomCrops(sampling or SamplingConfig(crop_size=CROP), augment, task)
    samples = crops(ScanInMemory(**values), torch.Generator().manual_seed(seed))
    batch = {key: torch.stack([sample[key] for sample in samples]) for key in ("image", "label", "draws")}
    wide = [(sample[WIDE[0]], sample[WIDE[1]]) for sample in samples if WIDE[0] in sample]
    change(batch["image"], batch["label"], changes_of(batch.pop("draws"), augment), wide)
    return [{key: value[index] for key, value in batch.items()} for index in range(len(samples))]


@pytest.mark.filterwarnings("ignore:Num foregrounds")  # of the one-slice scan, which shows no structure
@pytest.mark.parametrize("scheme", ["random", "positive_negative", "classes"])
@pytest.mark.parametrize("shape", [(24, 26, 22), (10, 12, 8), (40, 12, 12), CROP, (30, 5, 1)])
@pytest.mark.parametrize("augment", [NONE, ALL])
def test_crops_have_the_size_asked_for_whatever_the_scan_s(
    scheme: Any, shape: tuple[int, int, int], augment: AugmentConfig
) -> None:
    sampling = SamplingConfig(crop_size=CROP, scheme=scheme, crops_per_scan=3)
    for seed in range(4):
        crops = draw(scan(shape), augment, seed, sampling)
        assert len(crops) == 3
        for crop in crops:
            assert set(crop) == {"image", "label"}
            assert crop["image"].shape == crop["label"].shape == (1, *CROP)
            assert (crop["image"].dtype, crop["label"].dtype) == (torch.float32, torch.uint8)
            assert {type(value) for value in crop.values()} == {torch.Tensor}
            assert torch.isfinite(crop["image"]).all()
            assert set(crop["label"].unique().tolist()) <= {0, 1, 2}


def test_a_scan_smaller_than_the_crop_lies_somewhere_inside_with_nothing_around_it() -> None:
    starts = set()
    for seed in range(12):
        values = scan((10, 12, 8))
        values["image"] += 5
        values["label"][:] = 1
        (crop,) = draw(values, NONE, seed)
        x, y, z = (int(along.min()) for along in crop["label"][0].nonzero(as_tuple=True))
        starts.add((x, y, z))
        inside = (slice(None), slice(x, x + 10), slice(y, y + 12), slice(z, z + 8))
        assert torch.equal(crop["image"][inside], values["image"])
        assert torch.equal(crop["label"][inside], values["label"])
        assert crop["label"].sum() == values["label"].sum()
        assert int((crop["image"] != 0).sum()) == values["image"].numel()
    assert all(len({start[axis] for start in starts}) > 2 for axis in range(3))


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    sampling = SamplingConfig(crop_size=CROP, scheme="positive_negative", crops_per_scan=2)
    for seed in range(3):
        one, same, other = (draw(scan(), ALL, number, sampling) for number in (seed, seed, seed + 100))
        for first, second in zip(one, same, strict=True):
            assert torch.equal(first["image"], second["image"])
            assert torch.equal(first["label"], second["label"])
        assert not torch.equal(one[0]["image"], one[1]["image"])
        assert not torch.equal(one[0]["image"], other[0]["image"])


def test_the_scan_itself_is_left_alone() -> None:
    for shape in ((24, 26, 22), CROP):
        values = scan(shape)
        for seed in range(10):
            draw(values, ALL, seed)
        assert torch.equal(values["image"], scan(shape)["image"])
        assert torch.equal(values["label"], scan(shape)["label"])


@pytest.mark.parametrize(("positive", "negative"), [(1, 0), (0, 1), (1, 1), (3, 1)])
def test_crops_are_centred_on_structures_and_on_background_as_asked(positive: float, negative: float) -> None:
    sampling = SamplingConfig(
        crop_size=(3, 3, 3), scheme="positive_negative", positive=positive, negative=negative, crops_per_scan=150
    )
    centres = [bool(crop["label"][0, 1, 1, 1]) for crop in draw(scan(), NONE, 0, sampling)]
    assert np.mean(centres) == pytest.approx(positive / (positive + negative), abs=0.12)


def test_a_region_that_comes_first_counts_as_a_structure() -> None:
    # MONAI takes the first of several channels for background.
    targets = (Target(name="a", labels=(1,), write_as=1), Target(name="b", labels=(2,), write_as=2))
    task = Task(name="two", modality="CT", channels=("CT",), targets=targets, activation="sigmoid")
    label = torch.zeros(2, 24, 24, 24, dtype=torch.uint8)
    label[0, 5:9, 5:9, 5:9] = 1
    sampling = SamplingConfig(
        crop_size=(3, 3, 3), scheme="positive_negative", positive=1, negative=0, crops_per_scan=20
    )
    crops = draw({"image": torch.rand(1, 24, 24, 24), "label": label}, NONE, 0, sampling, task)
    assert all(crop["label"][0, 1, 1, 1] for crop in crops)


@pytest.mark.filterwarnings("ignore:Num foregrounds")
def test_a_scan_without_structures_gives_crops_all_the_same() -> None:
    values = scan()
    values["label"][:] = 0
    sampling = SamplingConfig(crop_size=CROP, scheme="positive_negative", positive=1, negative=1)
    (crop,) = draw(values, ALL, 0, sampling)
    assert crop["image"].shape == (1, *CROP)


def test_image_and_label_move_together() -> None:
    moving = AugmentConfig(rotate90_probability=0.5, affine_probability=0.7)
    cube = (16, 16, 16)
    sampling = SamplingConfig(crop_size=cube)
    changed = 0
    for seed in range(30):
        (crop,) = draw(twin(cube), moving, seed, sampling)
        assert set(crop["label"].unique().tolist()) <= {0, 1, 2}
        apart = (crop["image"] - crop["label"]).abs()
        # Linear and nearest differ at the surfaces alone; the nearest of eight voxels has an eighth of the weight.
        assert apart.max() <= 2 * 7 / 8 + 1e-4
        assert (apart > 0.5).float().mean() < 0.04
        changed += not torch.equal(crop["label"], twin(cube)["label"])
    assert changed > 20


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrors_of_each_axis(axis: int) -> None:
    probability = tuple(float(index == axis) for index in range(3))
    (crop,) = draw(scan(CROP), replace(NONE, flip_probability=probability))  # type: ignore[arg-type]
    for key in ("image", "label"):
        assert torch.equal(crop[key], scan(CROP)[key].flip(axis + 1))


def test_mirrors_come_as_often_as_asked() -> None:
    (whole,) = draw(scan(CROP), NONE)
    augment = replace(NONE, flip_probability=(0.25, 0, 0))
    mirrored = [not torch.equal(draw(scan(CROP), augment, seed)[0]["image"], whole["image"]) for seed in range(60)]
    assert np.mean(mirrored) == pytest.approx(0.25, abs=0.12)


def test_quarter_turns_are_in_the_axial_plane() -> None:
    cube = (16, 16, 12)
    turned = set()
    for seed in range(20):
        augment = replace(NONE, rotate90_probability=1)
        (crop,) = draw(scan(cube), augment, seed, SamplingConfig(crop_size=cube))
        turns = [k for k in range(4) if torch.equal(crop["image"], scan(cube)["image"].rot90(k, (1, 2)))]
        assert len(turns) == 1
        assert torch.equal(crop["label"], scan(cube)["label"].rot90(turns[0], (1, 2)))
        turned.update(turns)
    assert turned == {1, 2, 3}


def test_crops_that_are_no_squares_are_turned_by_half_a_turn_alone() -> None:
    (crop,) = draw(scan(CROP), replace(NONE, rotate90_probability=1))
    for key in ("image", "label"):
        assert torch.equal(crop[key], scan(CROP)[key].rot90(2, (1, 2)))


@pytest.mark.parametrize("zoom", [0.5, 0.8, 1.25, 2.0])
def test_a_zoom_above_1_enlarges(zoom: float) -> None:
    size = (32, 40, 24)
    label = torch.zeros(1, *size, dtype=torch.uint8)
    label[:, 12:20, 15:25, 9:15] = 1  # 8 x 10 x 6 in the middle
    augment = replace(NONE, affine_probability=1, rotate_degrees=(0, 0, 0), zoom=(zoom, zoom))
    (crop,) = draw({"image": label.float(), "label": label}, augment, 0, SamplingConfig(crop_size=size))
    where = crop["label"][0].nonzero()
    extent = (where.max(0).values - where.min(0).values + 1).tolist()
    np.testing.assert_allclose(extent, np.array((8, 10, 6)) * zoom, atol=1.01)
    centre = (where.max(0).values + where.min(0).values) / 2
    np.testing.assert_allclose(centre, (np.array(size) - 1) / 2, atol=0.51)
    assert float(crop["image"].sum()) == pytest.approx(480 * zoom**3, rel=0.1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotations_are_about_the_axis_asked_for(axis: int) -> None:
    size = (24, 24, 24)
    degrees = tuple(20.0 if index == axis else 0.0 for index in range(3))
    line = torch.zeros(1, *size, dtype=torch.uint8)
    ends: list[Any] = [11, 11, 11]
    ends[axis] = slice(None)
    line[(0, *ends)] = 1  # along the axis: stays
    image = scan(size)["image"]
    augment = replace(NONE, affine_probability=1, rotate_degrees=degrees, zoom=(1, 1))  # type: ignore[arg-type]
    turned = 0
    for seed in range(5):
        (crop,) = draw({"image": image, "label": line}, augment, seed, SamplingConfig(crop_size=size))
        assert torch.equal(crop["label"], line)
        turned += not torch.allclose(crop["image"], image, atol=0.1)
    assert turned > 2


def test_no_rotation_and_no_zoom_change_nothing() -> None:
    augment = replace(NONE, affine_probability=1, rotate_degrees=(0, 0, 0), zoom=(1, 1))
    (crop,) = draw(scan(CROP), augment)
    torch.testing.assert_close(crop["image"], scan(CROP)["image"], atol=1e-4, rtol=0)
    assert torch.equal(crop["label"], scan(CROP)["label"])


def test_regions_stay_binary() -> None:
    task = brats("brats2021", ("FLAIR", "T1ce"))
    label = torch.zeros(3, *CROP, dtype=torch.uint8)
    label[:2, 4:10, 5:15, 3:9] = 1
    label[1, 2:12] = 1
    image = torch.rand(2, *CROP)
    for seed in range(10):
        (crop,) = draw({"image": image, "label": label}, ALL, seed, task=task)
        assert crop["image"].shape == (2, *CROP)
        assert crop["label"].shape == (3, *CROP)
        assert crop["label"].dtype == torch.uint8
        assert crop["label"].max() <= 1
        assert (crop["label"][0] <= crop["label"][1]).all()  # still nested


@pytest.mark.parametrize("name", ["intensity_scale", "intensity_shift", "gamma", "noise", "blur"])
def test_changes_of_intensity_leave_the_label_alone(name: str) -> None:
    for seed in range(5):
        (crop,) = draw(scan(CROP), replace(NONE, **{f"{name}_probability": 1}), seed)
        assert torch.equal(crop["label"], scan(CROP)["label"])
        assert not torch.equal(crop["image"], scan(CROP)["image"])


def factors(augment: AugmentConfig, of: Any, draws: int = 100) -> list[float]:
    """What `of` reads from an image and its change, for many draws."""
    image = scan(CROP)["image"]
    return [float(of(image, draw(scan(CROP), augment, seed)[0]["image"])) for seed in range(draws)]


def test_scale_and_shift_stay_within_their_bounds() -> None:
    scales = factors(
        replace(NONE, intensity_scale_probability=1, intensity_scale=0.2), lambda one, other: (other / one).median() - 1
    )
    shifts = factors(
        replace(NONE, intensity_shift_probability=1, intensity_shift=0.3), lambda one, other: (other - one).median()
    )
    for values, bound in ((scales, 0.2), (shifts, 0.3)):
        assert -bound - 1e-5 <= min(values) < -0.8 * bound
        assert 0.8 * bound < max(values) <= bound + 1e-5


def test_gamma_keeps_the_range_and_is_drawn_log_uniformly() -> None:
    values = scan(CROP)
    values["image"] = values["image"] * 7 - 3
    low, high = values["image"].min(), values["image"].max()
    normed = (values["image"] - low) / (high - low)
    augment = replace(NONE, gamma_probability=1, gamma=(0.5, 2.0))
    drawn = []
    for seed in range(80):
        image = draw(values, augment, seed)[0]["image"]
        torch.testing.assert_close(image.min(), low, atol=1e-4, rtol=0)
        torch.testing.assert_close(image.max(), high, atol=1e-4, rtol=0)
        power = float((((image - low) / (high - low)).log() / normed.log()).nanmedian())
        torch.testing.assert_close((image - low) / (high - low), normed**power, atol=1e-3, rtol=0)
        drawn.append(np.log2(power))
    assert min(drawn) >= -1.001
    assert max(drawn) <= 1.001
    assert np.mean(drawn) == pytest.approx(0, abs=0.15)  # as often below 1 as above


def test_gamma_of_a_constant_image() -> None:
    values = {**scan(CROP), "image": torch.full((1, *CROP), 3.0)}
    (crop,) = draw(values, replace(NONE, gamma_probability=1))
    assert torch.equal(crop["image"], values["image"])


def test_noise_and_blur_are_as_strong_as_asked() -> None:
    spread = factors(replace(NONE, noise_probability=1, noise_std=0.4), lambda one, other: (other - one).std())
    assert max(spread) < 0.42
    assert 0.1 < np.mean(spread) < 0.3
    blurred = factors(replace(NONE, blur_probability=1), lambda one, other: other.std() / one.std(), 20)
    assert all(0.05 < share < 0.9 for share in blurred)


@pytest.mark.parametrize("size", [(16, 16, 12), CROP])
def test_what_is_around_a_crop_is_turned_with_it(size: tuple[int, int, int]) -> None:
    turns = replace(NONE, flip_probability=(0.5, 0.5, 0.5), rotate90_probability=0.5)
    hardly = replace(turns, affine_probability=1, rotate_degrees=(1e-4, 1e-4, 1e-4), zoom=(1, 1))
    sampling = SamplingConfig(crop_size=size)
    for seed in range(20):
        (crop,), (same,) = (draw(scan(), augment, seed, sampling) for augment in (turns, hardly))
        torch.testing.assert_close(same["image"], crop["image"], atol=1e-3, rtol=0)
        assert (same["label"] != crop["label"]).float().mean() < 1e-3


@pytest.mark.filterwarnings("ignore:Num foregrounds")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.tuples(*[st.integers(4, 20)] * 3),
    st.tuples(*[st.floats(0, 40)] * 3),
    st.floats(0.6, 1.0),
    st.booleans(),
)
def test_a_rotation_within_the_scan_invents_nothing(
    seed: int, size: tuple[int, int, int], degrees: tuple[float, float, float], zoom: float, turned: bool
) -> None:
    # 7 and IGNORED wherever the scan is; a centre that is as far from its border as a crop can reach.
    augment = AugmentConfig(
        affine_probability=1, rotate_degrees=degrees, zoom=(zoom, 1.2), rotate90_probability=float(turned)
    )
    shape = (90, 96, 94)
    values = {"image": torch.full((1, *shape), 7.0), "label": torch.full((1, *shape), IGNORED, dtype=torch.uint8)}
    values["label"][0, 45, 48, 47] = 1
    sampling = SamplingConfig(crop_size=size, scheme="positive_negative", positive=1, negative=0)
    (crop,) = draw(values, augment, seed, sampling)
    assert crop["image"].shape == (1, *size)
    torch.testing.assert_close(crop["image"], torch.full((1, *size), 7.0))
    assert set(crop["label"].unique().tolist()) <= {1, IGNORED}


def test_beyond_the_scan_a_rotation_finds_nothing() -> None:
    values = {"image": torch.ones(1, *CROP), "label": torch.ones(1, *CROP, dtype=torch.uint8)}
    augment = replace(NONE, affine_probability=1, rotate_degrees=(0, 0, 0), zoom=(0.5, 0.5))
    (crop,) = draw(values, augment)
    assert torch.equal(crop["label"], (crop["image"] > 0.5).to(torch.uint8))
    assert crop["label"].float().mean() == pytest.approx(1 / 8, abs=0.02)


def test_crops_are_no_larger_than_their_rotation_needs() -> None:
    sampling = SamplingConfig(crop_size=(32, 32, 32), crops_per_scan=1)
    augment = AugmentConfig(affine_probability=0.5)
    crops = RandomCrops(sampling, augment, TASK)
    big = ScanInMemory(**scan((60, 60, 60)))
    samples = [crops(big, torch.Generator().manual_seed(seed))[0] for seed in range(100)]
    wide = [sample[WIDE[0]].numel() / 32**3 for sample in samples if WIDE[0] in sample]
    assert 30 < len(wide) < 70  # the others are read as they are
    assert min(wide) >= 1
    assert np.mean(wide) < 2.2
