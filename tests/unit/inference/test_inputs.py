from pathlib import Path

import pytest

from swin_unetr.batch import Failure
from swin_unetr.errors import ConfigError
from swin_unetr.inference.inputs import find_inputs
from swin_unetr.tasks import BTCV, brats


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def find(*paths: Path, task=BTCV, layout="auto", selected=None):
    return find_inputs(paths, task, layout=layout, selected=selected)


def test_files_and_folders_together(tmp_path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "more/b.nii", tmp_path / "more/c.nii.gz", tmp_path / "more/notes.txt")
    found = find(tmp_path / "a.nii.gz", tmp_path / "more", tmp_path / "more")
    assert [case.id for case in found.cases] == ["a", "b", "c"]
    assert found.failures == []


def test_paths_without_scans_are_failures_and_the_others_go_on(tmp_path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "report.pdf")
    (tmp_path / "empty").mkdir()
    absent = [tmp_path / "missing.nii.gz", tmp_path / "empty", tmp_path / "report.pdf"]
    found = find(tmp_path / "a.nii.gz", *absent, selected=["a", "z"])
    assert [case.id for case in found.cases] == ["a"]
    assert [failure.case for failure in found.failures] == [*(path.name for path in absent), "z"]
    assert all(str(path) in failure.message for path, failure in zip(absent, found.failures, strict=False))


def test_modalities_are_matched_by_name_in_the_order_of_the_model(tmp_path) -> None:
    for name in ("flair", "t1ce", "t1", "t2", "seg"):
        touch(tmp_path / f"BraTS2021_00001/BraTS2021_00001_{name}.nii.gz")
    for name in ("t2f", "t1c", "seg"):
        touch(tmp_path / f"BraTS-GLI-00002-000/BraTS-GLI-00002-000-{name}.nii.gz")
    found = find(tmp_path, task=brats(channels=("T2", "FLAIR")))
    assert [[path.name for path in case.images] for case in found.cases] == [
        ["BraTS2021_00001_t2.nii.gz", "BraTS2021_00001_flair.nii.gz"]
    ]
    folder = tmp_path / "BraTS-GLI-00002-000"
    assert found.failures == [
        Failure(folder.name, f"{folder}: lacks T2, which the model needs; it has T1ce, FLAIR"),
    ]
    assert [case.id for case in find(folder, task=brats(channels=("FLAIR",))).cases] == [folder.name]


def test_here_is_a_path_too(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "BraTS2021_00001"
    touch(folder / "BraTS2021_00001_t1.nii.gz")
    monkeypatch.chdir(folder)
    assert [case.id for case in find(Path("."), task=brats(channels=("T1",))).cases] == [folder.name]


def test_two_scans_of_one_id_are_refused(tmp_path) -> None:
    touch(tmp_path / "one/scan.nii.gz", tmp_path / "two/scan.nii.gz")
    with pytest.raises(ConfigError, match=r"one/scan.nii.gz and .*two/scan.nii.gz both give the case 'scan'"):
        find(tmp_path / "one", tmp_path / "two")


def test_unknown_layout_is_an_argument_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="layout"):
        find(tmp_path, layout="bids2")
