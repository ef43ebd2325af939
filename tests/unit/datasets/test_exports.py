"""Exports of archives: series below folders of patients and studies are found, each with an id of its own."""

from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_object, write_plane
from pydicom.uid import MediaStorageDirectoryStorage, RTStructureSetStorage, SegmentationStorage

from pretrain.scans.find import find_scans
from swin_unetr.datasets import read_dataset
from swin_unetr.datasets.dicom_objects import dicom_object, is_dicom
from swin_unetr.errors import DataError
from swin_unetr.inference.batch.inputs import find_inputs
from swin_unetr.tasks import BTCV


def series(folder: Path, *, bare: bool = False) -> Path:
    for index in range(2):
        name = f"IM{index}" if bare else f"{index}.dcm"
        write_plane(folder / name, np.zeros((4, 4), np.uint16), (0, 0, index), preamble=not bare)
    return folder


@pytest.fixture
def export(tmp_path: Path) -> Path:
    root = tmp_path / "export"
    series(root / "anna" / "2020-01-01" / "CT chest")
    series(root / "bert" / "2020-02-02" / "CT abdomen")
    series(root / "bert" / "2020-02-02" / "CT chest", bare=True)
    write_object(root / "anna" / "2020-01-01" / "RTSTRUCT" / "1.dcm", RTStructureSetStorage, "RTSTRUCT")
    write_object(root / "carl" / "SEG" / "1.dcm", SegmentationStorage, "SEG")
    write_object(root / "DICOMDIR", MediaStorageDirectoryStorage, "")
    return root


def test_series_at_any_depth_are_cases(export: Path) -> None:
    dataset = read_dataset(export, require_labels=False)
    cases = {case.id: case.images[0].relative_to(export).as_posix() for case in dataset.cases}
    assert cases == {
        "anna": "anna/2020-01-01/CT chest",
        "bert_2020-02-02_CT abdomen": "bert/2020-02-02/CT abdomen",
        "bert_2020-02-02_CT chest": "bert/2020-02-02/CT chest",
    }
    assert dataset.notes == (
        "left out, because they hold no image: anna/2020-01-01/RTSTRUCT (a set of contours (RTSTRUCT)), carl/SEG "
        "(a segmentation (SEG))",
    )
    found = find_inputs([export], BTCV, layout="auto", selected=None)
    assert {case.id for case in found.cases} == set(cases)
    assert not found.failures
    assert any("carl/SEG" in note for note in found.notes)


def test_the_deeper_folders_can_be_named_too(export: Path) -> None:
    for root, ids in (("bert", ["2020-02-02_CT abdomen", "2020-02-02_CT chest"]), ("anna", ["2020-01-01"])):
        assert [case.id for case in read_dataset(export / root, require_labels=False).cases] == ids
    lone = export / "carl" / "SEG"  # named by the user: the reason comes when it is read
    assert [case.images for case in read_dataset(lone, require_labels=False).cases] == [(lone,)]
    with pytest.raises(DataError, match=r"no scans found in layout 'plain'; left out, .* SEG \(a segmentation"):
        read_dataset(export / "carl", require_labels=False)


def test_pretraining_finds_them_with_ids_of_their_own(export: Path) -> None:
    found = find_scans([export])
    assert {case.id for case in found.cases} == {"CT abdomen", "anna_2020-01-01_CT chest", "bert_2020-02-02_CT chest"}
    assert {Path(failure.case).name for failure in found.skipped} == {"RTSTRUCT", "SEG"}


def test_a_series_beside_folders_with_series(tmp_path: Path) -> None:
    series(tmp_path / "p1")
    series(tmp_path / "p1" / "more")
    assert [case.id for case in read_dataset(tmp_path / "p1", require_labels=False).cases] == ["more", "p1"]
    assert [case.id for case in read_dataset(tmp_path, require_labels=False).cases] == ["p1", "p1_more"]


def test_series_of_one_patient_belong_together(tmp_path: Path) -> None:
    for name in ("ann/CT1", "ann/CT2", "bob/CT"):
        series(tmp_path / "images" / name)
    (tmp_path / "labels").mkdir()
    for name in ("ann_CT1", "ann_CT2", "bob"):
        (tmp_path / "labels" / f"{name}.nii.gz").write_bytes(b"")
    dataset = read_dataset(tmp_path, require_labels=True)
    assert dataset.groups == {"ann_CT1": "ann", "ann_CT2": "ann", "bob": "bob"}


def test_links_that_lead_back(tmp_path: Path) -> None:
    series(tmp_path / "a" / "b")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert [case.id for case in read_dataset(tmp_path, require_labels=False).cases] == ["a"]


def test_many_other_files_before_the_slices(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / "p").mkdir(exist_ok=True)
        (tmp_path / "p" / f"0_{index}.txt").write_text("of the ward")
    series(tmp_path / "p")
    assert [case.id for case in read_dataset(tmp_path, require_labels=False).cases] == ["p"]


def test_one_file_is_a_case(tmp_path: Path) -> None:
    path = series(tmp_path / "p") / "0.dcm"
    bare = series(tmp_path / "q", bare=True) / "IM0"
    for file, name in ((path, "0"), (bare, "IM0")):
        (case,) = read_dataset(file, require_labels=False).cases
        assert (case.id, case.images) == (name, (file,))
        (scan,) = find_scans([file]).cases
        assert scan.images == (file,)


def test_images_of_other_formats_in_deeper_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "p1" / "deep").mkdir(parents=True)
    (tmp_path / "p1" / "deep" / "a.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"no scans found .*; left out: the images in p1 \(1\); name these folders"):
        read_dataset(tmp_path, require_labels=False)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 400, b"\x08\0", b"plain text, and more of it" * 9, bytes(range(256)), b"\x5c\x01\0\0" * 90]
)
def test_other_files_are_no_dicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_dicom(tmp_path / "x")


def test_objects_by_their_class(tmp_path: Path) -> None:
    for uid, kind in (
        ("1.2.840.10008.5.1.4.1.1.4.1", "frames"),
        ("1.2.840.10008.5.1.4.1.1.4", "slice"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "segmentation"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "other object"),
        ("1.2.840.10008.1.3.10", "other object"),
        ("1.2.3", "slice"),
    ):
        assert dicom_object(write_object(tmp_path / "x.dcm", uid, "OT")).kind == kind
