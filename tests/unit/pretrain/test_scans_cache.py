"""Scans are preprocessed once; what cannot be used is named; a stop costs nothing that was done."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pretrain.scans.cache import cache_scans
from pretrain.scans.cached import CachedScans
from pretrain.scans.find import find_scans
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.errors import ConfigError, DataError
from transforms.io import read_image, write_channels, write_image
from transforms.preprocess import preprocess_volume

MR = PreprocessConfig(intensity=IntensityConfig(scheme="zscore"), crop_foreground=False)
CT = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window", window=(-1000, 1000)))


def noise(seed: int, shape=(12, 14, 16)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 200, shape).astype(np.float32)


def write(path: Path, array: np.ndarray, affine=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, array, np.eye(4) if affine is None else affine)
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    for seed in range(4):
        write(tmp_path / "data" / f"scan_{seed}.nii.gz", noise(seed))
    return tmp_path / "data"


def cached(data: Path, preprocess: PreprocessConfig = MR, tell=lambda line: None, **options) -> CachedScans:
    return cache_scans(find_scans([data], **options), preprocess, data.parent / "cache", workers=2, tell=tell)


def files(data: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (data.parent / "cache").rglob("[!.]*.scan")}


def test_crops_are_those_of_the_preprocessed_scan(data) -> None:
    config = PreprocessConfig(spacing_mm=(1.5, 1.5, 1.5), intensity=CT.intensity)
    scans = cached(data, config)
    for scan, case in zip(scans.scans, scans.cases, strict=True):
        wanted = preprocess_volume(read_image(case.images), config).as_tensor().numpy()
        assert (scan.channels, *scan.shape) == wanted.shape
        np.testing.assert_allclose(scan.read((0, 0, 0), scan.shape), wanted, atol=1e-4)


def test_a_scan_whose_header_was_mended_is_preprocessed_by_the_new_one(data) -> None:
    config = PreprocessConfig(spacing_mm=(2.0, 2.0, 2.0), intensity=MR.intensity, crop_foreground=False)
    assert {scan.shape for scan in cached(data, config).scans} == {(6, 8, 8)}
    for seed in range(4):
        write(data / f"scan_{seed}.nii.gz", noise(seed), np.diag([2.0, 2.0, 4.0, 1.0]))
    assert {scan.shape for scan in cached(data, config).scans} == {(12, 14, 31)}


def test_a_second_time_nothing_is_made_and_another_preprocessing_has_its_own(data) -> None:
    said: list[str] = []
    first = cached(data, tell=said.append)
    assert len(said) == 1
    assert "4 of 4 scans to preprocess, at most 38.1 KB in" in said[0]
    before = files(data)
    assert cached(data, tell=said.append) == first
    assert files(data) == before
    assert len(said) == 1
    cached(data, CT)
    assert len(files(data)) == 8


def test_a_damaged_file_of_the_cache_is_made_anew(data) -> None:
    first = cached(data)
    file = first.scans[1].file
    file.write_bytes(file.read_bytes()[:-100])
    said: list[str] = []
    again = cached(data, tell=said.append)
    assert "1 of 4 scans to preprocess" in said[0]
    assert again == first
    assert again.scans[1].read((0, 0, 0), (4, 4, 4)).any()


def test_a_changed_file_is_read_again(data) -> None:
    first = cached(data)
    write(data / "scan_2.nii.gz", noise(9))
    second = cached(data)
    assert [one == other for one, other in zip(first.hashes, second.hashes, strict=True)] == [True, True, False, True]


def test_what_cannot_be_used_is_named_and_the_rest_is_used(data) -> None:
    whole = (data / "scan_1.nii.gz").read_bytes()
    (data / "scan_1.nii.gz").write_bytes(whole[:-200])
    (data / "text.nii.gz").write_text("no image")
    write(data / "nan.nii.gz", np.full((8, 8, 8), np.nan, np.float32))
    write(data / "zeros.nii.gz", np.zeros((8, 8, 8), np.float32))
    write(data / "air.nii.gz", noise(7) / 100 - 3000)
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:5, :5, :5] = 3
    write(data / "organs.nii.gz", labels)
    scans = cached(data, CT)
    assert [case.id for case in scans.cases] == ["scan_0", "scan_2", "scan_3"]
    reasons = {Path(line.split(":")[0]).name: line for line in (failure.message for failure in scans.skipped)}
    for name, reason in (
        ("scan_1.nii.gz", "truncated or damaged"),
        ("text.nii.gz", "not a readable NIfTI"),
        ("nan.nii.gz", "NaN"),
        ("zeros.nii.gz", "is constant: every voxel is 0"),
        ("air.nii.gz", "outside the window -1000..1000"),
        ("organs.nii.gz", "label map"),
    ):
        assert reason in reasons[name]
    assert "6 skipped:" in scans.summary()
    assert cached(data, CT) == scans
    (data / "scan_1.nii.gz").write_bytes(whole)  # copied again, as the message says
    assert len(cached(data, CT).cases) == 4


def test_the_same_voxels_count_once_whatever_their_file_and_axes(data) -> None:
    write(
        data / "z_stored.nii.gz",
        noise(0)[::-1].transpose(2, 0, 1),
        np.array([[0, -1, 0, 11], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]]),
    )
    write(data / "z_mirror.nii.gz", noise(1)[::-1])  # other voxels: a mirror image
    scans = cached(data)
    assert [(Path(one).name, Path(other).name) for one, other in scans.duplicates] == [
        ("z_stored.nii.gz", "scan_0.nii.gz")
    ]
    assert len(scans.scans) == 5
    assert "1 left out because others hold the same voxels" in scans.summary()


def test_a_content_can_be_excluded_under_any_name(data) -> None:
    known = cached(data).hashes[2]
    (data / "scan_2.nii.gz").rename(data / "renamed.nii.gz")
    scans = cached(data, exclude=[known])
    assert [Path(name).name for name in scans.excluded] == ["renamed.nii.gz"]
    assert known not in scans.hashes


def test_overlap_with_the_test_is_found_by_content(data, tmp_path) -> None:
    write(tmp_path / "test" / "hidden.nii", noise(3))
    with pytest.raises(DataError, match=r"1 scan belongs to the test too: .*scan_3\.nii\.gz; leave them out"):
        cached(data, test=[tmp_path / "test"])
    scans = cached(data, test=[tmp_path / "test"], exclude=["scan_3"])
    assert len(scans.scans) == 3


def test_a_test_scan_that_cannot_be_checked_is_told(data, tmp_path) -> None:
    write(tmp_path / "test" / "a.nii.gz", noise(8))
    (tmp_path / "test" / "b.nii.gz").write_text("no image")
    said: list[str] = []
    cached(data, test=[tmp_path / "test"], tell=said.append)
    assert "b.nii.gz" in said[0]
    assert "not checked for overlap" in said[0]


def test_mixed_channels_are_refused_by_name(data) -> None:
    geometry = read_image([data / "scan_0.nii.gz"]).geometry
    write_channels(data / "two.nii.gz", np.stack([noise(5), noise(6)]), geometry)
    with pytest.raises(DataError, match=r"4 have 1, others not: .*two\.nii\.gz \(2\); leave these out"):
        cached(data)
    for name in ("scan_0", "scan_1", "scan_2", "scan_3"):
        (data / f"{name}.nii.gz").unlink()
    assert cached(data).channels == 2


def test_no_usable_scan_is_an_error_that_names_them(tmp_path) -> None:
    write(tmp_path / "data" / "zeros.nii.gz", np.zeros((8, 8, 8), np.float32))
    with pytest.raises(DataError, match=r"no scan can be used \(1 skipped, 0 excluded\):\n.*zeros\.nii\.gz"):
        cached(tmp_path / "data")


def test_too_small_a_disk_is_told_before_anything_is_written(data, monkeypatch) -> None:
    affine = np.diag([1e3, 1e3, 1e3, 1.0])  # metres a voxel, to be resampled to a millimetre
    write(data / "vast.nii.gz", noise(5), affine)
    config = PreprocessConfig(spacing_mm=(1.0, 1.0, 1.0), intensity=MR.intensity)
    with pytest.raises(ConfigError, match=r"take up to 4\.\d+ TB and .* are free; choose another --cache"):
        cached(data, config)
    assert not files(data)


def test_dicom_and_nifti_of_one_series_are_one_scan(test_data, tmp_path) -> None:
    series = test_data / "ct" / "dicom_series"
    volume = read_image([series])
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "converted.nii.gz", volume.array[0], volume.geometry.affine)
    (tmp_path / "data" / "series").symlink_to(series, target_is_directory=True)
    scans = cached(tmp_path / "data", CT)
    assert len(scans.scans) == 1
    assert len(scans.duplicates) == 1


def test_the_record_names_files_and_contents(data) -> None:
    record = json.loads(json.dumps(cached(data).provenance()))
    assert record["scans"] == [str(data / f"scan_{index}.nii.gz") for index in range(4)]
    assert len(set(record["scan_hashes"])) == 4


FILL = """
import sys
from pathlib import Path
from pretrain.scans.cache import cache_scans
from pretrain.scans.find import find_scans
from swin_unetr.config import IntensityConfig, PreprocessConfig
config = PreprocessConfig(intensity=IntensityConfig(scheme="zscore"), crop_foreground=False)
cache_scans(find_scans([sys.argv[1]]), config, Path(sys.argv[1]).parent / "cache", workers=1)
"""


def fill(data: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", FILL, str(data)], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with_and_two_at_once_share_the_work(tmp_path) -> None:
    data = tmp_path / "data"
    for seed in range(40):
        write(data / f"{seed:02}.nii.gz", noise(seed, (40, 40, 40)))
    process = fill(data)
    limit = time.monotonic() + 300
    while len(files(data)) < 3 and time.monotonic() < limit:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = files(data)
    assert 3 <= len(before) < 40
    both = [fill(data), fill(data)]
    said = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count("scans to preprocess") == 1  # the second found all done
    after = files(data)
    assert len(after) == 40
    assert all(after[name] == before[name] for name in before)
    assert not list((tmp_path / "cache").rglob(".partial-*"))
    scans = cached(data)
    np.testing.assert_allclose(scans.scans[7].read((0, 0, 0), (40, 40, 40))[0], noise(7, (40, 40, 40)) / 200, atol=0.1)
