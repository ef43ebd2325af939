"""A stored scan gives the same crops as the array in memory, and says when it is not what was written."""

import pickle

import numpy as np
import pytest

from swin_unetr.errors import DataError
from swin_unetr.store.pieces import Pieces
from swin_unetr.store.scan_file import StoredScan, open_scan, stored_bytes, write_scan


@pytest.fixture
def array() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(2, 70, 33, 40)).astype(np.float32)
    values[1] = values[1] * 100 + 1000  # every channel has a range of its own
    return values


@pytest.fixture
def label(array) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (rng.random((2, *array.shape[1:])) < [[[[0.3]]], [[[0.01]]]]).astype(np.uint16) * 300


@pytest.fixture
def scan(array, label, tmp_path) -> StoredScan:
    places = [(label[0].size, np.flatnonzero(label[0] == 0)[::2]), (3, np.array([5, 2**40]))]
    return write_scan(tmp_path / "scan.scan", "case 7", array, label, places)


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
def test_a_crop_is_that_of_the_array_within_half_a_step(array, label, scan, start, size) -> None:
    crop, targets = scan.crop(start, size)
    wanted = padded(array, start, size)
    assert targets.dtype == np.uint16
    np.testing.assert_array_equal(targets, padded(label, start, size))
    np.testing.assert_array_equal(crop, scan.read(start, size))
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
    scan = write_scan(tmp_path / "ct.scan", "ct", (units + 1000) / 2000)
    np.testing.assert_allclose(scan.read((0, 0, 0), (10, 10, 20)) * 2000 - 1000, units, rtol=0, atol=1 / 30)


def test_a_scan_is_found_again_as_it_was_written(array, scan) -> None:
    again = open_scan(scan.file, "case 7")
    assert again == scan
    assert again.shape == array.shape[1:]
    assert again.label_channels == 2
    assert open_scan(scan.file.with_name("other.scan"), "x") is None


def test_places_are_kept_with_their_numbers(label, scan) -> None:
    assert scan.class_voxels == (label[0].size, 3)
    np.testing.assert_array_equal(scan.places(0), np.flatnonzero(label[0] == 0)[::2])
    assert scan.places(-1).tolist() == scan.places(1).tolist() == [5, 2**40]


def test_size_is_known_beforehand_and_noise_takes_little_more_than_its_bytes(array, scan) -> None:
    places = len(scan.places(0)) + 2
    assert scan.file.stat().st_size < stored_bytes(2, array.shape[1:], 2, places) + 2 * array.size  # of 16 bits here
    assert stored_bytes(2, array.shape[1:], 0) < 1.3 * 2 * array.size


def test_what_shows_little_takes_little(tmp_path) -> None:
    array = np.zeros((1, 64, 64, 64), np.float32)
    array[:, 20:30, 20:30, 20:30] = 1
    scan = write_scan(tmp_path / "x.scan", "x", array, array.astype(np.uint8))
    assert scan.file.stat().st_size < 0.05 * 3 * array.size
    np.testing.assert_array_equal(scan.read((0, 0, 0), (64, 64, 64)), array)


def test_a_constant_channel_is_kept(tmp_path) -> None:
    array = np.stack([np.full((8, 8, 8), -1000, np.float32), np.random.default_rng(0).random((8, 8, 8), np.float32)])
    np.testing.assert_allclose(write_scan(tmp_path / "x.scan", "x", array).read((0, 0, 0), (8, 8, 8)), array, atol=1e-5)


def test_a_crop_reads_no_more_than_its_blocks(tmp_path, monkeypatch) -> None:
    array = np.random.default_rng(0).random((1, 96, 96, 96), np.float32)
    scan = write_scan(tmp_path / "x.scan", "x", array)
    read = []
    raw = Pieces.raw
    monkeypatch.setattr(Pieces, "raw", lambda self, first, number: read.append(number) or raw(self, first, number))
    scan.read((40, 40, 40), (20, 20, 20))
    assert sum(read) == 1
    scan.read((20, 40, 0), (20, 20, 96))
    assert read[1:] == [3, 3]


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.999])
def test_a_flipped_bit_is_told_with_the_case(array, scan, at) -> None:
    raw = bytearray(scan.file.read_bytes())
    raw[int(at * len(raw))] ^= 4
    scan.file.write_bytes(raw)
    with pytest.raises(
        DataError, match=r"^case 7: .*scan\.scan is damaged \(.*checksum.*\); delete that file.*start again"
    ):
        scan.crop((0, 0, 0), array.shape[1:])


def test_a_damaged_block_spoils_no_other(array, scan) -> None:
    raw = bytearray(scan.file.read_bytes())
    raw[100] ^= 1  # of the first block
    scan.file.write_bytes(raw)
    assert open_scan(scan.file, "case 7") == scan  # to open reads no block
    scan.read((40, 0, 30), (20, 10, 10))
    with pytest.raises(DataError, match="block 0 has another checksum"):
        scan.read((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("left", [0, 10, 1000, -1000, -1])
def test_a_torn_file_is_no_scan_and_is_named(scan, left) -> None:
    scan.file.write_bytes(scan.file.read_bytes()[:left])
    assert open_scan(scan.file, "case 7") is None
    with pytest.raises(DataError, match=r"case 7: .*scan\.scan is damaged"):
        scan.read((0, 0, 0), (70, 33, 40))
    scan.file.unlink()
    with pytest.raises(DataError, match=r"case 7: .*scan\.scan cannot be read \(No such file"):
        scan.read((0, 0, 0), (70, 33, 40))


def test_nothing_in_a_file_is_a_pickle(scan) -> None:
    raw = scan.file.read_bytes()
    assert b"numpy" not in raw
    assert not raw.startswith(b"\x80")
    scan.file.write_bytes(pickle.dumps(scan))
    assert open_scan(scan.file, "x") is None
