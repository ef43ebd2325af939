"""Scans are left out by name, place and content, and what the list names in vain is an error."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pretrain.scans.cache import cache_scans
from pretrain.scans.cached import CachedScans
from pretrain.scans.exclusions import read_exclusions
from pretrain.scans.find import find_scans
from swin_unetr.config import IntensityConfig, PreprocessConfig
from swin_unetr.errors import DataError
from transforms.io import write_channels, write_image

MR = PreprocessConfig(intensity=IntensityConfig(scheme="zscore"), crop_foreground=False)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 200, (8, 9, 10)).astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed in range(4):
        (tmp_path / "data").mkdir(exist_ok=True)
        write_image(tmp_path / "data" / f"scan_{seed}.nii.gz", noise(seed), np.eye(4))
    return tmp_path / "data"


def cached(data: Path, *lines: object) -> CachedScans:
    listed = data.parent / "exclude.txt"
    listed.write_text("".join(f"{line}\r\n" for line in lines), encoding="utf-8-sig", newline="")
    return cache_scans(
        find_scans([data], exclude=read_exclusions(listed)), MR, data.parent / "cache", workers=1, tell=lambda _: None
    )


def names(scans: CachedScans) -> list[str]:
    return [image.name for case in scans.cases for image in case.images]


def test_copies_elsewhere_exclude_the_scans_here(data: Path, tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    shutil.copy(data / "scan_0.nii.gz", tmp_path / "held" / "first.nii.gz")
    write_image(tmp_path / "held" / "second.nii", noise(2), np.diag([2.0, 2.0, 2.0, 1.0]))
    scans = cached(data, tmp_path / "held" / "first.nii.gz", "held\\second.nii")
    assert names(scans) == ["scan_1.nii.gz", "scan_3.nii.gz"]
    assert "2 of 4 excluded by the list" in scans.summary()
    assert names(cached(data, tmp_path / "held")) == ["scan_1.nii.gz", "scan_3.nii.gz"]


def test_a_scan_that_is_excluded_by_name_does_not_come_in_as_a_copy(data: Path) -> None:
    shutil.copy(data / "scan_1.nii.gz", data / "again.nii.gz")
    assert names(cached(data, "scan_1.nii.gz")) == ["scan_0.nii.gz", "scan_2.nii.gz", "scan_3.nii.gz"]
    assert names(cached(data, data / "again.nii.gz")) == ["scan_0.nii.gz", "scan_2.nii.gz", "scan_3.nii.gz"]


def test_one_channel_of_a_scan_is_enough(data: Path, tmp_path: Path) -> None:
    from transforms.io import read_image

    like = read_image([data / "scan_0.nii.gz"]).geometry
    for seed in range(4):
        (data / f"scan_{seed}.nii.gz").unlink()
        channels = np.stack([noise(seed), noise(seed + 10), np.zeros((8, 9, 10))])  # all share one that shows nothing
        write_channels(data / f"both_{seed}.nii.gz", channels, like)
    write_image(tmp_path / "t1.nii.gz", noise(12), np.eye(4))
    scans = cached(data, tmp_path / "t1.nii.gz")
    assert names(scans) == ["both_0.nii.gz", "both_1.nii.gz", "both_3.nii.gz"]


def test_entries_that_match_nothing_are_named(data: Path, tmp_path: Path) -> None:
    for entries, words in (
        (("scan_0", "scan3", "Scan_2"), r"2 of 3 entries match no scan.*scan3.*Scan_2 \(did you mean scan_2\?\)"),
        ((tmp_path / "nowhere" / "scan_0.nii.gz",), r"1 of 1 entries match no scan.*nowhere/scan_0\.nii\.gz"),
        (("scan_0", "0" * 32), r"1 of 2 entries match no scan, by name, place or content: 0000"),
    ):
        with pytest.raises(DataError, match=words):
            cached(data, *entries)
    write_image(tmp_path / "other.nii.gz", noise(99), np.eye(4))
    (tmp_path / "empty").mkdir()
    for entry in ("other.nii.gz", "empty"):
        with pytest.raises(DataError, match=rf"1 of 1 entries match no scan.*/{entry}"):
            cached(data, tmp_path / entry)
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"1 of 1 entries match no scan.*broken"):
        cached(data, tmp_path / "broken.nii.gz")


def test_a_list_that_leaves_nothing_out_is_refused(tmp_path: Path) -> None:
    for name, text in (("x.txt", "\n# none\n"), ("x.csv", "case\n"), ("x.json", "[]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=rf"{name}: lists no scan; list the scans to leave out"):
            read_exclusions(tmp_path / name)


def test_a_doubled_stem_in_a_labelled_layout_is_skipped_and_said(tmp_path: Path) -> None:
    for name in ("imagesTr/img0001.nii", "imagesTr/img0001.nii.gz", "imagesTr/img0002.nii", "labelsTr/label0002.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_scans([tmp_path])
    assert [case.id for case in found.cases] == ["img0002"]
    assert [failure.case for failure in found.skipped] == ["img0001"]
