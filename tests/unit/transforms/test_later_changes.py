"""Low resolution, contrast, inverted gamma and changes by channel: against numpy and torch, crop by crop."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from augmentations import ALL, NONE
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import AdjustContrast, RandSimulateLowResolution

from swin_unetr.augment_config import OfChannels
from swin_unetr.config import AugmentConfig
from transforms.augment import change, coarsened
from transforms.random_parameters import NUMBERS, changes_of, draw, monai_seeds

SIZE = (9, 12, 7)
#: Where the numbers of a change are among those of a crop: whether, and how.
LOW, CONTRAST, INVERTED = (25, 26), (27, 28), (29, 30)


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    return draw(count, torch.Generator().manual_seed(seed))


def images(count: int, channels: int = 2, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, channels, *SIZE), generator=generator) * 5 - 1


def made(image: torch.Tensor, draws: torch.Tensor, augment: AugmentConfig) -> torch.Tensor:
    """The changed images; the labels are to stay what they are."""
    image = image.clone()
    label = torch.arange(image[:, :1].numel()).reshape(image[:, :1].shape) % 200
    before = label.clone()
    change(image, label, changes_of(draws, augment, image.shape[1]), [])
    assert torch.equal(label, before)
    return image


def numbers_of_channels(number: float, channels: int) -> list[float]:
    """The numbers of the channels of a crop, by hand."""
    generator = torch.Generator().manual_seed(int(number * 2**53))
    return torch.rand(channels, generator=generator, dtype=torch.float64).tolist()


def test_numbers_that_were_drawn_before_stay_what_they_were() -> None:
    generator = torch.Generator().manual_seed(3)
    before = torch.rand(4, 25, generator=generator, dtype=torch.float64)
    draws = drawn(4, seed=3)
    assert torch.equal(draws[:, :25], before)
    assert draws.shape == (4, NUMBERS)
    assert len(set(draws.flatten().tolist())) == draws.numel()


@pytest.mark.parametrize("keeps_range", [True, False])
@pytest.mark.parametrize("by_channel", [True, False])
def test_contrast_is_about_the_mean(keeps_range: bool, by_channel: bool) -> None:
    augment = replace(NONE, contrast_probability=0.5, contrast=(0.5, 3.0), contrast_keeps_range=keeps_range)
    augment = replace(augment, per_channel=("contrast",) if by_channel else ())
    draws, before = drawn(12), images(12)
    after = made(before, draws, augment)
    seen = set()
    for crop, result, numbers in zip(before.double().numpy(), after.numpy(), draws.tolist(), strict=True):
        chance, number = (numbers[place] for place in CONTRAST)
        seen.add(chance < 0.5)
        if chance >= 0.5:
            assert np.array_equal(crop.astype(np.float32), result)
            continue
        parts = crop if by_channel else crop[None]
        expected = []
        for part, drawn_number in zip(parts, numbers_of_channels(number, 2) if by_channel else [number], strict=True):
            factor = 0.5 * (3.0 / 0.5) ** drawn_number
            new = part.mean() + (part - part.mean()) * factor
            expected.append(new.clip(part.min(), part.max()) if keeps_range else new)
        np.testing.assert_allclose(result, np.array(expected).reshape(crop.shape), atol=2e-5)
    assert seen == {True, False}


@pytest.mark.parametrize("by_channel", [True, False])
def test_inverted_gamma_is_monai_s_of_the_inverted_image(by_channel: bool) -> None:
    augment = replace(NONE, inverted_gamma_probability=0.5, gamma=(0.5, 2))
    augment = replace(augment, per_channel=("inverted_gamma",) if by_channel else ())
    draws, before = drawn(12), images(12)
    after = made(before, draws, augment)
    for crop, result, numbers in zip(before, after, draws.tolist(), strict=True):
        chance, number = (numbers[place] for place in INVERTED)
        if chance >= 0.5:
            assert torch.equal(crop, result)
            continue
        each = numbers_of_channels(number, 2) if by_channel else [number]
        parts = crop.split(1) if by_channel else [crop]
        expected = [
            torch.as_tensor(AdjustContrast(0.5 ** (1 - of) * 2**of, invert_image=True)(part))
            for part, of in zip(parts, each, strict=True)
        ]
        torch.testing.assert_close(result, torch.cat(expected), atol=2e-5, rtol=1e-5)


def test_gamma_scale_and_noise_by_channel() -> None:
    draws, before = drawn(8), images(8, channels=3)
    powers = made(before, draws, replace(NONE, gamma_probability=1, per_channel=("gamma",)))
    scales = made(before, draws, replace(NONE, intensity_scale_probability=1, per_channel=("intensity_scale",)))
    noise = made(before, draws, replace(NONE, noise_probability=1, per_channel=("noise",))) - before
    together = made(before, draws, replace(NONE, noise_probability=1)) - before
    for index, numbers in enumerate(draws.tolist()):
        of_gamma, of_scale, of_noise = (numbers_of_channels(numbers[place], 3) for place in (20, 22, 13))
        for channel in range(3):
            crop = before[index, channel : channel + 1]
            power = 0.7 ** (1 - of_gamma[channel]) * 1.5 ** of_gamma[channel]
            torch.testing.assert_close(
                powers[index, channel : channel + 1], torch.as_tensor(AdjustContrast(power)(crop)), atol=2e-5, rtol=1e-5
            )
            factor = 1 + (2 * of_scale[channel] - 1) * 0.1
            torch.testing.assert_close(scales[index, channel : channel + 1], crop * factor)
            # The same noise as before, of another strength.
            ratio = of_noise[channel] / numbers[13]
            torch.testing.assert_close(noise[index, channel], together[index, channel] * ratio, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("share", [1.0, 0.9, 0.61, 0.5, 0.34, 0.1])
def test_low_resolution_is_monai_s(share: float) -> None:
    before = images(1)
    theirs = RandSimulateLowResolution(
        prob=1, zoom_range=(share, share), downsample_mode="nearest-exact", upsample_mode="trilinear"
    )(before[0])
    ours = coarsened(before, torch.tensor([[share]]))[0]
    torch.testing.assert_close(ours, torch.as_tensor(theirs).as_subclass(torch.Tensor), atol=1e-5, rtol=1e-5)
    assert (share == 1) == torch.equal(ours, before[0])


@pytest.mark.parametrize("by_channel", [True, False])
def test_low_resolution_by_its_numbers(by_channel: bool) -> None:
    augment = replace(NONE, low_resolution_probability=0.5, low_resolution=(0.3, 0.9))
    augment = replace(augment, per_channel=("low_resolution",) if by_channel else ())
    draws, before = drawn(12), images(12)
    after = made(before, draws, augment)
    for crop, result, numbers in zip(before, after, draws.tolist(), strict=True):
        chance, number = (numbers[place] for place in LOW)
        if chance >= 0.5:
            assert torch.equal(crop, result)
            continue
        shares = torch.tensor(numbers_of_channels(number, 2) if by_channel else [number, number]) * 0.6 + 0.3
        for channel in range(2):
            alone = coarsened(crop[None, channel : channel + 1], shares[None, channel : channel + 1].float())
            torch.testing.assert_close(result[channel], alone[0, 0], atol=1e-5, rtol=1e-5)


NEUTRAL = {
    "low_resolution": {"low_resolution": (1.0, 1.0)},
    "contrast": {"contrast": (1.0, 1.0)},
    "inverted_gamma": {"gamma": (1.0, 1.0)},
    "gamma": {"gamma": (1.0, 1.0)},
    "intensity_scale": {"intensity_scale": 0.0},
    "noise": {"noise_std": 0.0},
}
SIZES = {
    "low_resolution": {"low_resolution": (0.4, 0.6)},
    "contrast": {"contrast": (1.5, 2.0)},
    "inverted_gamma": {"gamma": (1.5, 2.0)},
    "gamma": {"gamma": (1.5, 2.0)},
    "intensity_scale": {"intensity_scale": 0.5},
    "noise": {"noise_std": 0.5},
}


def of(name: str, probability: float, sizes: dict[str, Any], by_channel: bool) -> AugmentConfig:
    values = {f"{name}_probability": probability, "per_channel": (name,) if by_channel else (), **sizes}
    return replace(NONE, **values)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(NEUTRAL)), st.integers(0, 2**30), st.integers(1, 3), st.booleans())
def test_neutral_sizes_change_nothing_and_others_only_the_crops_that_were_drawn(
    name: str, seed: int, channels: int, by_channel: bool
) -> None:
    draws, before = drawn(5, seed), images(5, channels, seed)
    after = made(before, draws, of(name, 1, NEUTRAL[name], by_channel))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    after = made(before, draws, of(name, 0.5, SIZES[name], by_channel))
    place = {
        "low_resolution": 25,
        "contrast": 27,
        "inverted_gamma": 29,
        "gamma": 19,
        "intensity_scale": 21,
        "noise": 12,
    }
    for crop, result, numbers in zip(before, after, draws.tolist(), strict=True):
        assert torch.equal(crop, result) == (numbers[place[name]] >= 0.5)
    assert torch.equal(made(before, draws, of(name, 0, SIZES[name], by_channel)), before)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**30), st.sets(st.sampled_from(get_args(OfChannels))))
def test_a_single_channel_is_changed_alike_by_channel_and_together(seed: int, names: set[OfChannels]) -> None:
    augment = replace(ALL, affine_probability=0, low_resolution_probability=0.5, contrast_probability=0.5)
    augment = replace(augment, inverted_gamma_probability=0.5)
    draws, before = drawn(4, seed), images(4, 1, seed)
    by_channel = made(before, draws, replace(augment, per_channel=tuple(names)))
    assert torch.equal(by_channel, made(before, draws, augment))


def test_a_crop_is_changed_alike_in_any_batch() -> None:
    augment = replace(ALL, affine_probability=0, low_resolution_probability=0.7, contrast_probability=0.7)
    augment = replace(augment, inverted_gamma_probability=0.7, per_channel=get_args(OfChannels))
    draws, before = drawn(6, 5), images(6)
    together = made(before, draws, augment)
    for rows in ([0, 1, 2], [5, 3], [4]):
        torch.testing.assert_close(made(before[rows], draws[rows], augment), together[rows], rtol=1e-5, atol=1e-5)


def test_seeds_of_monai_s_transforms_are_of_each_crop() -> None:
    draws = drawn(100)
    seeds = monai_seeds(draws)
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert monai_seeds(draws[[7]]) == [seeds[7]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"contrast": (0.0, 1.0)}, "contrast"),
        ({"low_resolution": (0.5, 1.5)}, "low_resolution: must not exceed 1"),
        ({"low_resolution": (0.0, 1.0)}, "low_resolution"),
        ({"contrast_probability": 1.5}, "contrast_probability"),
        ({"per_channel": ("blur",)}, "per_channel: 'blur' is not one of noise"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AugmentConfig(**values)
