"""The two ways of taking the steps, MONAI's transforms and slab by slab, over random scans and configurations."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import transforms.steps
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.errors import DataError
from transforms.geometry import Geometry, Volume
from transforms.grids import Grids
from transforms.prepare import _resample, image_orders, prepare, source_grid
from transforms.preprocess import as_monai, preprocess_volume
from transforms.steps import (
    ROUNDING,
    CropForeground,
    Intensity,
    Orient,
    Resample,
    ScaleIntensity,
    Standardize,
    Window,
    ZScore,
    label_interpolation_key,
    preprocessing_key,
    steps_of,
)

NAMES = ("CT", "PET", "T1")
#: Millimetres by which voxels may come to lie apart: rounding of float64.
APART = 1e-11
#: What values may differ by, as a share of the largest value before they are scaled, and of 1 beside, for the scaled.
#: Over 2000 random examples, twice, the largest difference was 8e-7.
BOUND = 2e-6

schemes = st.sampled_from(["hu_window", "zscore", "zscore_nonzero", "hu_zscore"])
windows = st.sampled_from([(-150.0, 250.0), (0.0, 20.0), (-1000.0, 90.5), (10.0, 40_000.0), (-1e6, 1e6)])
intensities = st.builds(
    IntensityConfig,
    scheme=schemes,
    window=windows,
    mean=st.sampled_from([-20.5, 40.0]),
    std=st.sampled_from([15.0, 90.0]),
)
#: Thin and thick slices; 1 and 2 fall together with planes of spacings of 1 and 2, also at the source's borders.
sizes = st.sampled_from([0.5, 0.7, 1.0, 1.3, 2.0, 5.0, 8.0])


@st.composite
def geometries(draw: Any) -> Geometry:
    """Any order and direction of the axes, oblique ones and tilted gantries; single slices too."""
    x, y, z = (draw(st.integers(2, 14)) for _ in range(3))
    if draw(st.integers(0, 5)) == 5:
        z = 1
    edges = np.diag([draw(sizes) for _ in range(3)])[:, draw(st.permutations(range(3)))]
    edges = edges * [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    kind = draw(st.sampled_from(["upright", "oblique", "sheared"]))
    if kind == "oblique":
        angles = [draw(st.floats(-40, 40)) for _ in range(3)]
        edges = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ edges
    elif kind == "sheared":
        edges[1] += draw(st.floats(-0.3, 0.3)) * edges[2]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = edges, [draw(st.floats(-300, 300)) for _ in range(3)]
    return Geometry((x, y, z), affine)


@st.composite
def scans(draw: Any) -> Volume:
    """Boxes of tissue in air, anywhere, also at the border; a channel may hold air alone."""
    geometry, channels = draw(geometries()), draw(st.integers(1, 3))
    dtype = np.dtype(draw(st.sampled_from(["uint8", "int16", ">i2", "uint16", "int32", "float32", "float64"])))
    air = 0 if dtype.kind == "u" else draw(st.sampled_from([0, 0, -1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    array = np.full((channels, *geometry.shape), air, dtype, order=draw(st.sampled_from(["C", "F"])))
    for channel in array:
        if draw(st.integers(0, 9)) == 9:
            continue
        ends = [(draw(st.integers(0, size // 3)), draw(st.integers(0, size // 3))) for size in geometry.shape]
        tissue = channel[tuple(slice(low, size - high) for (low, high), size in zip(ends, geometry.shape, strict=True))]
        highest = 250 if dtype.itemsize == 1 else draw(st.sampled_from([300, 30_000]))
        tissue[...] = rng.uniform(1 if dtype.kind == "u" else -120, highest, tissue.shape)
    return Volume(array, geometry)


@st.composite
def configs(draw: Any, volume: Volume) -> PreprocessConfig:
    """Coarser and finer voxels, those of the source, and some that only differ along one axis."""
    own = np.abs(volume.geometry.affine[:3, :3]).max(axis=1).tolist()
    spacing = [draw(sizes | st.just(of)) for of in own]
    return PreprocessConfig(
        spacing_mm=draw(st.sampled_from([None, tuple(spacing), tuple(spacing)])),
        intensity=draw(intensities),
        intensity_of={str(number): draw(intensities) for number in range(1, len(volume.array))},
        crop_foreground=draw(st.booleans()),
        image_interpolation=draw(st.sampled_from(["linear", "cubic"])),
        through_plane=draw(st.sampled_from(["same", "auto"])),
    )


def moved(grids: Grids) -> float:
    """Voxels of the source by which prediction moves positions, to interpolate one axis after another.

    It takes grids for parallel that are by a thousandth of a voxel, and positions for a voxel's by 1e-5.
    """
    grid = source_grid(grids, (0, 1, 2))
    if not grid.parallel:
        return 0.0
    steps, sizes = grid.matrix[:3, :3], np.array(grid.target_shape)
    total = float((np.abs(steps - np.diag(np.diag(steps))) @ sizes).sum())
    for axis, size in enumerate(sizes):
        position = steps[axis, axis] * np.arange(size) + grid.matrix[axis, 3]
        from_voxel = np.abs(position - np.rint(position))
        total += float(from_voxel[from_voxel < 1e-5].max(initial=0))
    return total


def tolerance(resampled: NDArray[np.float32], largest: float, intensity: Intensity) -> float:
    """What the values of a channel may differ by, in shares of `BOUND`.

    Args:
        resampled: X x Y x Z, as training has it before it is scaled.
        largest: absolute value of the file.
        intensity: of the channel.
    """
    if isinstance(intensity, Window):
        return largest / (intensity.high - intensity.low) + 1
    if isinstance(intensity, Standardize):
        return (largest + abs(intensity.mean)) / intensity.std + 1
    values = resampled.astype(np.float64)
    if intensity.nonzero:
        values = values[np.abs(values) > ROUNDING * np.abs(values).max()]
    deviation = float(values.std()) if values.size else 0.0
    constant = deviation <= ROUNDING * (abs(float(values.mean())) if values.size else 0.0)
    return largest + 1 if constant else largest / deviation + 1


def differences(volume: Volume, config: PreprocessConfig) -> list[tuple[float, float]]:
    """The largest difference of each channel before it is scaled, and after, and what is allowed.

    The geometry is checked.
    """
    names = NAMES[: len(volume.array)]
    expected, found = preprocess_volume(volume, config, names), prepare(volume, config, names)
    assert tuple(found.image.shape) == tuple(expected.shape)
    assert found.image.dtype == expected.dtype
    np.testing.assert_allclose(found.grids.prepared_affine, expected.affine.numpy(), rtol=0, atol=APART)
    steps = steps_of(config, len(names), names)
    before = [step for step in steps if not isinstance(step, ScaleIntensity)]
    stored = MetaTensor(np.ascontiguousarray(volume.array, np.float32), affine=volume.geometry.affine)
    resampled = Compose(as_monai(before, ["image"]))({"image": stored})["image"].numpy()
    kept = [ZScore(nonzero=False)] * len(names)
    orders = image_orders(found.grids, steps.resample)
    unscaled = _resample(found.grids.turn.view(volume.array), found.grids, kept, orders).numpy()
    compared: list[tuple[float, float]] = []
    bound = BOUND + 2 * moved(found.grids)
    for channel, intensity in enumerate(steps.intensity.channels):
        one, other, ours, theirs = (array[channel] for array in (found.image, expected, unscaled, resampled))
        largest = float(np.abs(volume.array[channel].astype(np.float64)).max())
        compared.append((float(np.abs(ours - theirs).max()), bound * largest))
        compared.append((float((one - other).abs().max()), bound * tolerance(theirs, largest, intensity)))
    return compared


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_both_ways_give_the_same_grid_and_values(data: st.DataObject) -> None:
    volume = data.draw(scans())
    config = data.draw(configs(volume))
    before = volume.array.copy()
    for difference, allowed in differences(volume, config):
        assert difference <= allowed
    np.testing.assert_array_equal(volume.array, before)


def test_the_steps_and_their_order() -> None:
    window = IntensityConfig(scheme="hu_window", window=(-100, 300))
    config = PreprocessConfig(spacing_mm=(1, 1, 2), intensity_of={"CT": window, "T1": IntensityConfig(scheme="zscore")})
    scaled = (Window(-100, 300), ZScore(nonzero=True), ZScore(nonzero=False))
    assert list(steps_of(config, 3, NAMES)) == [
        Orient(),
        CropForeground((-100, None, None)),
        Resample((1, 1, 2)),
        ScaleIntensity(scaled),
    ]
    other = replace(config, image_interpolation="cubic", label_interpolation="linear", through_plane="auto")
    assert steps_of(other, 3, NAMES).resample == Resample((1, 1, 2), "cubic", "linear", "auto")
    by_mean = IntensityConfig(scheme="hu_zscore", window=(-100, 300), mean=40, std=60)
    steps = steps_of(PreprocessConfig(intensity=by_mean), 1)
    assert steps.crop == CropForeground((-100,))
    assert steps.intensity.channels == (Standardize(-100, 300, 40, 60),)
    fewer = replace(config, spacing_mm=None, crop_foreground=False)
    assert list(steps_of(fewer, 3, NAMES)) == [Orient(), ScaleIntensity(scaled)]


@pytest.mark.parametrize("way", [preprocess_volume, prepare])
def test_names_of_other_channels_are_refused(way: Any) -> None:
    volume = Volume(np.ones((2, 3, 4, 5), np.float32), Geometry((3, 4, 5), np.eye(4)))
    with pytest.raises(DataError, match="a scan has 2 channels, but intensities of 3 are given"):
        way(volume, PreprocessConfig(), NAMES)


def test_what_was_preprocessed_by_other_steps_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = preprocessing_key(PreprocessConfig())
    monkeypatch.setattr(transforms.steps, "PREPROCESSING_VERSION", transforms.steps.PREPROCESSING_VERSION + 1)
    assert preprocessing_key(PreprocessConfig()) != before


def test_options_that_are_off_leave_the_key_as_it_was() -> None:
    config = PreprocessConfig(spacing_mm=(1, 1, 2), intensity=IntensityConfig(scheme="hu_window", window=(-100, 300)))
    before = {
        "version": transforms.steps.PREPROCESSING_VERSION,
        "spacing_mm": [1.0, 1.0, 2.0],
        "crop_foreground": True,
        "intensity": {"": ["hu_window", -100.0, 300.0]},
    }
    assert preprocessing_key(config) == before
    unused = replace(config, intensity=replace(config.intensity, mean=3.0, std=2.0), label_interpolation="linear")
    assert preprocessing_key(unused) == before
    assert label_interpolation_key(config) == {}
    assert label_interpolation_key(unused) == {"label_interpolation": "linear"}
    for option in ({"image_interpolation": "cubic"}, {"through_plane": "auto"}):
        assert preprocessing_key(replace(config, **option)) == {**before, **option}
        as_stored = replace(config, spacing_mm=None)
        assert preprocessing_key(replace(as_stored, **option)) == preprocessing_key(as_stored)


def test_mean_and_deviation_are_in_the_key() -> None:
    def key(**fields: float) -> object:
        values = {"window": (-100.0, 300.0), "mean": 40.0, "std": 60.0, **fields}
        return preprocessing_key(PreprocessConfig(intensity=IntensityConfig(scheme="hu_zscore", **values)))["intensity"]  # type: ignore[arg-type]

    assert key() == {"": ["hu_zscore", -100.0, 300.0, 40.0, 60.0]}
    assert key(mean=41.0) != key() != key(std=61.0)
