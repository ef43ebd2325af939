"""Prediction's preparation equals training's, and takes the memory that it says."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import transforms.prepare
from swin_unetr.config import IntensityConfig, PreprocessConfig
from transforms.geometry import Geometry, Volume
from transforms.prepare import prepare
from transforms.preprocess import preprocess_volume

SCHEMES = ("hu_window", "zscore", "zscore_nonzero", "hu_zscore")


def scan(shape: tuple[int, int, int], kind: str, order: str = "F", channels: int = 1) -> NDArray[np.generic]:
    """A body of positive values around something like air or nothing."""
    values = np.zeros((channels, *shape), np.float32)
    inner = tuple(slice(3, -2) if size > 8 else slice(None) for size in shape)
    values[(slice(None), *inner)] = np.random.default_rng(0).uniform(1, 400, values[(slice(None), *inner)].shape)
    ordered = np.empty(values.shape[::-1] if order == "F" else values.shape, kind)
    array: NDArray[np.generic] = ordered.transpose() if order == "F" else ordered
    array[...] = values.astype(kind)
    return array


def check(volume: Volume, config: PreprocessConfig) -> None:
    before = volume.array.copy()
    expected, found = preprocess_volume(volume, config), prepare(volume, config)
    assert found.image.shape == expected.shape
    assert found.image.dtype == torch.float32
    assert found.image.is_contiguous()
    np.testing.assert_allclose(found.grids.prepared_affine, expected.affine.numpy(), atol=1e-9)
    scale = max(1.0, float(expected.abs().max()))
    np.testing.assert_allclose(found.image.numpy(), expected.numpy(), atol=1e-5 * scale)
    np.testing.assert_array_equal(volume.array, before)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (1.43, 1.37, 1.87), (0.73, 0.93, 1.13)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_equals_training(grid: NDArray[np.float64], spacing: tuple[float, float, float] | None, scheme: str) -> None:
    if scheme == "zscore_nonzero" and spacing == (1.0, 1.0, 1.0):
        # Where a plane falls on one of the source's, MONAI's rounding makes 1e-15 of nothing, and z-scores it as if it
        # were something. Here it stays nothing; so this compares where no plane does.
        spacing = (1.03, 0.97, 1.07)
    for crop in (True, False):
        intensity = IntensityConfig(scheme=scheme, window=(0, 300), mean=120.5, std=60)  # type: ignore[arg-type]
        config = PreprocessConfig(spacing_mm=spacing, intensity=intensity, crop_foreground=crop)
        check(Volume(scan((22, 24, 20), "int16"), Geometry((22, 24, 20), grid)), config)


@pytest.mark.parametrize("through_plane", ["same", "auto"])
@pytest.mark.parametrize("image", ["linear", "cubic"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.43, 1.37, 5.87), (0.73, 0.93, 1.13)])
def test_every_interpolation_equals_that_of_training(
    grid: NDArray[np.float64], spacing: tuple[float, float, float], image: str, through_plane: str
) -> None:
    config = PreprocessConfig(
        spacing_mm=spacing,
        intensity=IntensityConfig(scheme="zscore"),
        image_interpolation=image,  # type: ignore[arg-type]
        through_plane=through_plane,  # type: ignore[arg-type]
    )
    check(Volume(scan((22, 24, 20), "int16"), Geometry((22, 24, 20), grid)), config)


def test_slabs_of_one_plane_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    config = PreprocessConfig(
        spacing_mm=(1.1, 0.7, 1.9), image_interpolation="cubic", intensity=IntensityConfig(scheme="zscore")
    )
    volume = Volume(scan((20, 21, 22), "int16"), Geometry((20, 21, 22), np.diag([-0.9, 1.2, 1.5, 1.0])))
    whole = prepare(volume, config).image
    monkeypatch.setattr(transforms.prepare, "_SLAB", 1)
    assert torch.equal(prepare(volume, config).image, whole)


def test_ct_by_mean_and_deviation_is_nnunets() -> None:
    """The formula of its CTNormalization: clip, subtract the mean, divide by the deviation."""
    values = np.random.default_rng(0).integers(-1024, 3000, (1, 9, 8, 7)).astype(np.int16)
    intensity = IntensityConfig(scheme="hu_zscore", window=(-150.5, 260), mean=71.25, std=42.5)
    config = PreprocessConfig(intensity=intensity, crop_foreground=False)
    expected = (np.clip(values.astype(np.float64), -150.5, 260) - 71.25) / 42.5
    volume = Volume(values, Geometry((9, 8, 7), np.eye(4)))
    np.testing.assert_allclose(prepare(volume, config).image.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(preprocess_volume(volume, config).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", ">i2", "int32", "float32", "float64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_type_and_order_in_memory(kind: str, order: str) -> None:
    config = PreprocessConfig(spacing_mm=(1.5, 1.2, 2.0), intensity=IntensityConfig(scheme="hu_window", window=(0, 90)))
    affine = np.diag([-0.8, 0.9, -1.5, 1.0])
    check(Volume(scan((20, 18, 16), kind, order), Geometry((20, 18, 16), affine)), config)


@pytest.mark.parametrize("shape", [(20, 21, 1), (1, 20, 21), (20, 1, 3)])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (2.0, 2.0, 4.0)])
def test_one_slice(
    grid: NDArray[np.float64], shape: tuple[int, int, int], spacing: tuple[float, float, float] | None
) -> None:
    config = PreprocessConfig(spacing_mm=spacing, intensity=IntensityConfig(scheme="zscore"))
    check(Volume(scan(shape, "int16"), Geometry(shape, grid)), config)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", [0, 7, -5000, 5000])
def test_nothing_to_see(scheme: str, value: int) -> None:
    intensity = IntensityConfig(scheme=scheme, mean=40, std=60)  # type: ignore[arg-type]
    config = PreprocessConfig(spacing_mm=(2, 2, 2), intensity=intensity)
    for kind in ("int16", "float32"):
        check(Volume(np.full((1, 9, 8, 7), value, kind), Geometry((9, 8, 7), np.eye(4))), config)


@pytest.mark.parametrize("scheme", ["zscore", "zscore_nonzero"])
def test_one_value_stays_one_value_after_resampling(scheme: str) -> None:
    """Interpolation rounds: what differs by rounding alone is no contrast, however small the deviation is."""
    volume = Volume(np.full((1, 21, 18, 15), 987.65, np.float32), Geometry((21, 18, 15), np.diag([1.3, 0.9, 2.1, 1.0])))
    config = PreprocessConfig(spacing_mm=(1.0, 1.1, 1.7), intensity=IntensityConfig(scheme=scheme))
    assert float(prepare(volume, config).image.abs().max()) < 0.01
    assert float(preprocess_volume(volume, config).abs().max()) < 0.01


@pytest.mark.parametrize("low", [-1e6, -0.5, 1e6])
def test_windows_beyond_the_type(low: float) -> None:
    config = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(low, low + 100)))
    check(Volume(scan((12, 11, 10), "uint8"), Geometry((12, 11, 10), np.eye(4))), config)


def test_channels_are_cropped_together_and_scaled_apart() -> None:
    array = np.array(scan((14, 15, 13), "float32", channels=3))
    array[1] *= 7
    array[2, :, :, :5] = 0
    check(Volume(array, Geometry((14, 15, 13), np.diag([-1, 1, 1.2, 1]))), PreprocessConfig(spacing_mm=(1, 1, 1)))


MEASURE = """
import json, sys
import numpy as np
from swin_unetr.config import IntensityConfig, PreprocessConfig
from transforms.geometry import Geometry, Volume
from transforms.prepare import prepare
from transforms.prepare_memory import prepare_bytes

def held(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

scheme, image, shape = sys.argv[1], sys.argv[2], (256, 256, 300)
spacing = (0.8, 0.8, 1.5)
intensity = IntensityConfig(scheme=scheme, mean=40, std=50)
config = PreprocessConfig(spacing_mm=(1.5, 1.5, 1.5), intensity=intensity, image_interpolation=image)
prepare(Volume(np.ones((1, 9, 9, 9), np.int16), Geometry((9, 9, 9), np.eye(4))), config)  # libraries
before = held("VmRSS")
source = np.full((1, *shape), 40, np.int16, order="F")
source[:, 1:] += 7
geometry = Geometry(shape, np.diag([*spacing, 1]))
prepare(Volume(source, geometry), config)
print(json.dumps([held("VmHWM") - before, prepare_bytes(geometry, 1, np.int16, config)]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("scheme", "image"), [("hu_window", "linear"), ("zscore_nonzero", "linear"), ("hu_zscore", "cubic")]
)
def test_memory_is_what_was_said(scheme: str, image: str) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, scheme, image], capture_output=True, text=True, check=True)
    measured, said = json.loads(done.stdout)
    assert 0.4 * said < measured < said + (32 << 20)
