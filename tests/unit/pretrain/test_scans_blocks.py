"""A scan in blocks gives the same crops as the array in memory."""

import numpy as np
import pytest

from pretrain.scans.blocks import BlockedScan, blocked_bytes, write_blocks
from swin_unetr.errors import DataError


@pytest.fixture
def array() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(2, 70, 33, 40)).astype(np.float32)
    values[1] = values[1] * 100 + 1000  # every channel has a range of its own
    return values


@pytest.fixture
def scan(array, tmp_path) -> BlockedScan:
    return write_blocks(tmp_path / "scan.npy", array)


def padded(array: np.ndarray, start, size) -> np.ndarray:
    """The crop of an array in memory, by padding it with zeros on all sides."""
    wide = np.pad(array, [(0, 0)] + [(100, 100)] * 3)
    return wide[(slice(None), *(slice(100 + low, 100 + low + length) for low, length in zip(start, size, strict=True)))]


@pytest.mark.parametrize(
    ("start", "size"),
    [
        ((0, 0, 0), (70, 33, 40)),
        ((5, 1, 3), (32, 32, 32)),
        ((37, 0, 8), (32, 32, 32)),
        ((69, 32, 39), (1, 1, 1)),
        ((-5, -20, 0), (80, 73, 41)),
        ((60, 30, 30), (20, 20, 20)),
        ((-50, 0, 0), (20, 20, 20)),
    ],
)
def test_a_crop_is_that_of_the_array_within_half_a_step(array, scan, start, size) -> None:
    crop = scan.read(start, size)
    wanted = padded(array, start, size)
    assert crop.dtype == np.float32
    for channel in range(2):
        step = np.ptp(array[channel]) / 65534
        np.testing.assert_allclose(crop[channel], wanted[channel], rtol=0, atol=0.51 * step)


def test_what_lies_outside_is_exactly_zero(scan) -> None:
    crop = scan.read((-3, 0, 0), (10, 33, 40))
    assert not crop[:, :3].any()
    assert (crop[1, 3:] > 400).all()


def test_ct_in_a_window_comes_back_to_a_thirtieth_of_a_hounsfield_unit(tmp_path) -> None:
    units = np.arange(-1000, 1000, dtype=np.float32).reshape(1, 10, 10, 20)
    scan = write_blocks(tmp_path / "ct.npy", (units + 1000) / 2000)
    np.testing.assert_allclose(scan.read((0, 0, 0), (10, 10, 20)) * 2000 - 1000, units, rtol=0, atol=1 / 30)


def test_size_is_known_beforehand_and_close_to_that_of_the_voxels(array, scan) -> None:
    assert scan.file.stat().st_size == blocked_bytes(2, array.shape[1:])
    assert scan.file.stat().st_size < 1.15 * 2 * array.size


def test_a_constant_channel_is_kept(tmp_path) -> None:
    array = np.stack([np.full((8, 8, 8), -1000, np.float32), np.random.default_rng(0).random((8, 8, 8), np.float32)])
    np.testing.assert_allclose(write_blocks(tmp_path / "x.npy", array).read((0, 0, 0), (8, 8, 8)), array, atol=1e-5)


def test_a_damaged_file_is_named(scan) -> None:
    scan.file.write_bytes(scan.file.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"scan\.npy: is damaged"):
        scan.read((0, 0, 0), (70, 33, 40))
    scan.file.unlink()
    with pytest.raises(DataError, match=r"scan\.npy: cannot be read"):
        scan.read((0, 0, 0), (70, 33, 40))
