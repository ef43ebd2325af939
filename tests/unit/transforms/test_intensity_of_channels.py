"""Each channel has its own intensities: alike in training and prediction, and in the key of a store."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.errors import ConfigError
from transforms.geometry import Geometry, Volume
from transforms.prepare import prepare
from transforms.preprocess import preprocess_volume
from transforms.steps import preprocessing_key

NAMES = ("CT", "PET", "T1")
#: No multiples of one another, and two planes of air around the body: where a plane of one grid is a plane of nothing
#: of the other beside one of something, MONAI's rounding makes 1e-15 of nothing.
SPACINGS = (0.83, 1.07, 1.61)

intensity = st.builds(
    IntensityConfig,
    scheme=st.sampled_from(["hu_window", "zscore", "zscore_nonzero", "hu_zscore"]),
    window=st.sampled_from([(-150.0, 250.0), (0.0, 20.0), (-1000.0, 90.5), (10.0, 40_000.0)]),
    mean=st.sampled_from([15.0, 70.5]),
    std=st.sampled_from([30.0, 45.5]),
)


@st.composite
def configs(draw: Any, channels: int) -> PreprocessConfig:
    named = draw(st.lists(st.integers(0, channels - 1), unique=True))
    keys = {number: draw(st.sampled_from([NAMES[number], str(number)])) for number in named}
    spacing = draw(st.none() | st.just((1.13, 0.97, 1.39)))
    return PreprocessConfig(
        spacing_mm=spacing,
        intensity=draw(intensity),
        intensity_of={keys[number]: draw(intensity) for number in named},
        crop_foreground=draw(st.booleans()),
        image_interpolation=draw(st.sampled_from(["linear", "cubic"])),
    )


@st.composite
def volumes(draw: Any, channels: int) -> Volume:
    """A body in air, of values as in CT, PET or MR, on a turned and possibly oblique grid."""
    shape = tuple(draw(st.integers(7, 12)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    array = np.zeros((channels, *shape), draw(st.sampled_from(["int16", "float32"])))
    body = tuple(slice(2, length - draw(st.integers(2, 3))) for length in shape)
    for channel in array:
        low, high, air = draw(st.sampled_from([(-120, 300, -1000), (0, 30_000, 0), (5, 900, 0)]))
        channel[...] = air
        channel[body] = rng.uniform(low, high, channel[body].shape)
    affine = np.eye(4)
    axes = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    affine[:3, :3] = np.diag(SPACINGS)[:, axes] * signs
    if draw(st.booleans()):
        angle = 0.2
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        affine[:3, :3] = turn @ affine[:3, :3]
    return Volume(array, Geometry(shape, affine))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 3))
def test_prediction_prepares_as_training_does(data: Any, channels: int) -> None:
    volume, config = data.draw(volumes(channels)), data.draw(configs(channels))
    before = volume.array.copy()
    expected = preprocess_volume(volume, config, NAMES[:channels])
    found = prepare(volume, config, NAMES[:channels])
    assert found.image.shape == expected.shape
    for one, other in zip(found.image.numpy(), expected.as_tensor().numpy(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * max(1.0, float(np.abs(other).max())))
    np.testing.assert_array_equal(volume.array, before)


def scan() -> Volume:
    """Two channels in which every field of a preprocessing makes a difference."""
    rng = np.random.default_rng(0)
    array = rng.uniform(-2000, 2000, (2, 9, 8, 7)).astype(np.float32)
    array[:, :2] = 0
    array[:, -2:] = -3000
    array[:, :, :, 0] = 0
    array[:, :, 0] = -3000
    return Volume(array, Geometry((9, 8, 7), np.diag([1.0, 1.2, 1.5, 1.0])))


def outcome(config: PreprocessConfig) -> NDArray[np.float32]:
    voxels: NDArray[np.float32] = preprocess_volume(scan(), config, NAMES[:2]).as_tensor().numpy()
    return voxels


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.data())
def test_the_key_changes_when_the_voxels_do_and_only_then(data: Any) -> None:
    one = data.draw(configs(2))
    other = data.draw(configs(2))
    field = data.draw(
        st.sampled_from(["spacing_mm", "intensity", "intensity_of", "crop_foreground", "image_interpolation", "all"])
    )
    if field != "all":
        other = replace(one, **{field: getattr(other, field)})
    keys = [preprocessing_key(config, NAMES[:2]) for config in (one, other)]
    if keys[0] == keys[1]:
        np.testing.assert_array_equal(outcome(one), outcome(other))
        return
    intensities = [config.intensities(NAMES[:2]) for config in (one, other)]
    if one.crop_foreground != other.crop_foreground and not all(of.is_hounsfield for of in sum(intensities, ())):
        return  # in this scan no plane is 0 in a channel: with a z-score there is nothing to crop away
    first, second = outcome(one), outcome(other)
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_a_key_without_names_knows_every_number() -> None:
    one = PreprocessConfig(intensity_of={"1": IntensityConfig(scheme="zscore")})
    other = PreprocessConfig(intensity_of={"1": IntensityConfig(scheme="zscore", window=(0, 1))})
    assert preprocessing_key(one) == preprocessing_key(other) != preprocessing_key(PreprocessConfig())


def test_channels_of_two_modalities_are_of_one_scale() -> None:
    """Of PET in Bq/ml beside CT, one window for both leaves either one nothing."""
    rng = np.random.default_rng(0)
    array = np.stack([rng.uniform(-150, 250, (8, 8, 8)), rng.uniform(0, 42_000, (8, 8, 8))]).astype(np.float32)
    volume = Volume(array, Geometry((8, 8, 8), np.eye(4)))
    window = IntensityConfig(scheme="hu_window", window=(-150, 42_000))
    together = prepare(volume, PreprocessConfig(intensity=window)).image
    assert together[0].std() < 0.01
    each = PreprocessConfig(
        intensity_of={
            "PET": IntensityConfig(scheme="zscore"),
            "CT": IntensityConfig(scheme="hu_window", window=(-150, 250)),
        }
    )
    ct, pet = prepare(volume, each, ("CT", "PET")).image
    assert (ct.min(), ct.max()) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.01))
    assert float(pet.std()) == pytest.approx(1, abs=0.01)
    swapped = prepare(Volume(array[::-1].copy(), volume.geometry), each, ("PET", "CT")).image
    np.testing.assert_array_equal(swapped.flip(0), np.stack([ct, pet]))


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ({"PT": "zscore"}, "there is no channel 'PT'; the channels are CT, PET"),
        ({"2": "zscore"}, "there is no channel '2'; the channels are CT, PET"),
        ({"PET": "zscore", "1": "zscore"}, "names channel PET by its name and by its number"),
    ],
)
def test_a_channel_that_is_not_there_is_refused(of: dict[str, str], words: str) -> None:
    config = PreprocessConfig(intensity_of={name: IntensityConfig(scheme=scheme) for name, scheme in of.items()})
    for way in (preprocess_volume, prepare):
        with pytest.raises(ConfigError, match=rf"^preprocess\.intensity_of: {words}"):
            way(scan(), config, NAMES[:2])


def test_a_number_in_yaml_is_a_channels_number() -> None:
    config = PreprocessConfig(intensity_of={1: IntensityConfig(scheme="zscore")})  # type: ignore[dict-item]
    assert [of.scheme for of in config.intensities(("CT", "PET"))] == ["zscore_nonzero", "zscore"]
