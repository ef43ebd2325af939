"""Changes of a batch, given what was drawn, are those of MONAI's transforms; and they do not depend on the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from augmentations import ALL, NONE
from monai.transforms import (
    AdjustContrast,
    Affine,
    Compose,
    Flip,
    GaussianSmooth,
    Rotate90,
    ScaleIntensity,
    ShiftIntensity,
)

from swin_unetr.config import AugmentConfig
from transforms.augment import change
from transforms.random_parameters import NUMBERS, changes_of, draw, margins, orientation

SIZE = (16, 20, 12)


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    return draw(count, torch.Generator().manual_seed(seed))


Batch = tuple[torch.Tensor, torch.Tensor]
#: Voxels of the scan on either side of a crop.
AROUND = 20


def middle(part: torch.Tensor, around: tuple[int, ...] = (0, 0, 0)) -> torch.Tensor:
    """Of something with `AROUND` voxels around a crop, the crop with as many as are asked for."""
    along = (slice(AROUND - more, AROUND + length + more) for more, length in zip(around, SIZE, strict=True))
    return part[(..., *along)]


@pytest.fixture
def scans() -> Batch:
    """Images and labels of which each crop is the middle."""
    generator = torch.Generator().manual_seed(1)
    size = [length + 2 * AROUND for length in SIZE]
    label = torch.zeros(6, 1, *size, dtype=torch.uint8)
    middle(label)[:, :, 4:12, 5:15, 3:9] = 1
    middle(label)[:, :, 8:12, 9:15, 6:9] = 2
    return torch.rand((6, 2, *size), generator=generator) * 5 - 1, label


@pytest.fixture
def batch(scans: Batch) -> Batch:
    image, label = map(middle, scans)
    return image, label


def made(scans: Batch, draws: torch.Tensor, augment: AugmentConfig) -> Batch:
    image, label = (middle(part).clone() for part in scans)
    around = [margins(numbers, augment, SIZE) for numbers in draws]
    wide = [tuple(middle(part[row], more) for part in scans) for row, more in enumerate(around) if more is not None]
    change(image, label, changes_of(draws, augment), wide)
    return image, label


@pytest.mark.parametrize("size", [(6, 6, 4), (6, 5, 4)])
def test_mirrors_and_quarter_turns_are_those_of_monai(size: tuple[int, int, int]) -> None:
    augment = AugmentConfig(flip_probability=(0.5, 0.5, 0.5), rotate90_probability=0.7)
    crop = torch.arange(float(np.prod(size))).reshape(1, *size)
    seen = set()
    for draws in drawn(200):
        swapped, mirrored = orientation(draws, augment, size)
        ours = (crop.transpose(1, 2) if swapped else crop).flip(mirrored)
        axes = [axis for axis in range(3) if draws[axis] < 0.5]
        turns = 0 if draws[3] >= 0.7 else 1 + int(3 * draws[4]) if size[0] == size[1] else 2
        theirs = Compose([Flip(axes), *([Rotate90(turns, spatial_axes=(0, 1))] if turns else [])])
        assert torch.equal(ours, theirs(crop).as_tensor())
        seen.add((*axes, turns + 10))
    assert len(seen) == (32 if size[0] == size[1] else 16)


def test_a_rotation_with_zoom_is_monai_s_of_the_scan_around(scans: Batch, batch: Batch) -> None:
    augment = replace(NONE, affine_probability=0.5, rotate_degrees=(20, 10, 30), zoom=(0.7, 1.4))
    draws = drawn(6)
    image, label = made(scans, draws, augment)
    changed = (draws[:, 5] < 0.5).tolist()
    assert any(changed)
    assert not all(changed)
    for index, is_changed in enumerate(changed):
        numbers = draws[index, 6:12].numpy()
        angles = np.deg2rad((2 * numbers[:3] - 1) * (20, 10, 30))
        zoom = 0.7 + 0.7 * numbers[3:]
        matrix = np.eye(4)
        for axis in range(3):  # MONAI's own order of the axes is another
            turn = Affine(
                rotate_params=[angle if axis == other else 0 for other, angle in enumerate(angles)]
            ).affine_grid(spatial_size=scans[0].shape[2:])[1]
            matrix = turn.numpy() @ matrix
        matrix = matrix @ np.diag([*1 / zoom, 1])
        for ours, scan, mode in ((image, scans[0], "bilinear"), (label, scans[1].float(), "nearest")):
            affine = Affine(affine=matrix, mode=mode, padding_mode="zeros", image_only=True)
            theirs = middle(affine(scan[index]).as_tensor() if is_changed else scan[index])
            if mode == "nearest":  # places half-way between voxels fall either way
                assert (ours[index] != theirs).float().mean() < 0.005
            else:
                torch.testing.assert_close(ours[index], theirs, atol=2e-4, rtol=0)


def test_blur_gamma_scale_and_shift_are_those_of_monai(scans: Batch, batch: Batch) -> None:
    augment = replace(
        NONE,
        blur_probability=0.6,
        blur_sigma=(0.4, 1.7),
        gamma_probability=0.6,
        intensity_scale_probability=0.6,
        intensity_shift_probability=0.6,
    )
    draws = drawn(6, seed=3)
    image, label = made(scans, draws, augment)
    assert torch.equal(label, batch[1])
    for index, numbers in enumerate(draws.tolist()):
        steps = []
        if numbers[15] < 0.6:
            steps.append(GaussianSmooth([0.4 + 1.3 * number for number in numbers[16:19]]))
        if numbers[19] < 0.6:
            steps.append(AdjustContrast(0.7 ** (1 - numbers[20]) * 1.5 ** numbers[20]))
        if numbers[21] < 0.6:
            steps.append(ScaleIntensity(minv=None, maxv=None, factor=(2 * numbers[22] - 1) * 0.1))
        if numbers[23] < 0.6:
            steps.append(ShiftIntensity((2 * numbers[24] - 1) * 0.1))
        theirs = torch.as_tensor(Compose(steps)(batch[0][index]))
        torch.testing.assert_close(image[index], theirs, atol=1e-5, rtol=1e-5)


def test_noise_has_the_spread_that_was_drawn_and_is_of_its_own_for_every_crop(scans: Batch, batch: Batch) -> None:
    augment = replace(NONE, noise_probability=1, noise_std=0.5)
    draws = drawn(6)
    image, _ = made(scans, draws, augment)
    noise = (image - batch[0]).flatten(1)
    torch.testing.assert_close(noise.std(1), (draws[:, 13] * 0.5).float(), rtol=0.05, atol=0)
    assert noise.mean(1).abs().max() < 0.03
    assert (torch.corrcoef(noise) - torch.eye(6)).abs().max() < 0.1


def test_a_crop_is_changed_alike_in_any_batch(scans: Batch, batch: Batch) -> None:
    draws = drawn(6, seed=5)
    together = made(scans, draws, ALL)
    for rows in ([0, 1, 2], [5, 3], [4]):
        apart = made((scans[0][rows], scans[1][rows]), draws[rows], ALL)
        torch.testing.assert_close(apart[0], together[0][rows], rtol=1e-6, atol=1e-6)
        assert torch.equal(apart[1], together[1][rows])
    assert all(not torch.equal(one, other) for one, other in zip(batch[0], together[0], strict=True))


def test_chances_and_sizes_are_as_asked() -> None:
    augment = replace(ALL, affine_probability=0.2, gamma=(0.5, 2), zoom=(0.8, 1.25), rotate_degrees=(0, 0, 0))
    changes = changes_of(drawn(4000), augment)
    for rows, share in ((changes.affine_rows, 0.2), (changes.noise_rows, 0.5), (changes.gamma_rows, 0.5)):
        assert len(rows) / 4000 == pytest.approx(share, abs=0.03)
    zooms = 1 / changes.matrices.diagonal(dim1=1, dim2=2)
    assert (float(zooms.min()), float(zooms.max())) == pytest.approx((0.8, 1.25), abs=0.01)
    assert changes.powers.log2().mean() == pytest.approx(0, abs=0.05)
    assert (float(changes.powers.min()), float(changes.powers.max())) == pytest.approx((0.5, 2), abs=0.01)
    assert changes.factors is not None
    moved = changes.factors[changes.factors != 1]
    assert len(moved) / 4000 == pytest.approx(0.5, abs=0.03)
    assert (float(moved.min()), float(moved.max())) == pytest.approx((0.9, 1.1), abs=0.001)
    assert len(set(changes.noise_seeds)) == len(changes.noise_seeds)


def test_nothing_is_done_where_nothing_is_asked_for(scans: Batch, batch: Batch) -> None:
    assert changes_of(drawn(6), NONE).factors is None
    for ours, before in zip(made(scans, drawn(6), NONE), batch, strict=True):
        assert torch.equal(ours, before)
    assert draw(2, torch.Generator()).shape == (2, NUMBERS)
