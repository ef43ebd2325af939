"""Scans are found in any of the places that people keep them in, by names alone."""

import json
from pathlib import Path

import pytest

from pretrain.scans.exclusions import read_exclusions
from pretrain.scans.find import find_scans
from swin_unetr.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def found(root: Path, *paths: Path, **options) -> list[str]:
    return [str(case.images[0].relative_to(root)) for case in find_scans(paths or [root], **options).cases]


def test_images_of_all_formats_in_subfolders(tmp_path) -> None:
    touch(tmp_path, "a.nii.gz", "b.nrrd", "deep/er/c.mha", "deep/.hidden.nii.gz", "notes.txt")
    assert found(tmp_path) == ["a.nii.gz", "b.nrrd", "deep/er/c.mha"]


def test_series_of_dicom_files_with_and_without_ending(tmp_path) -> None:
    touch(tmp_path, "one/1.dcm", "one/2.dcm", "two/README", "x.nii")
    (tmp_path / "two" / "IM1").write_bytes(b"\0" * 128 + b"DICM")
    assert sorted(found(tmp_path)) == ["one", "two", "x.nii"]


def test_labels_are_no_scans(tmp_path) -> None:
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz", "more/b.nii.gz", "more/b_seg.nii.gz", "more/b-mask.nii.gz")
    scans = find_scans([tmp_path])
    assert [case.id for case in scans.cases] == ["a", "b"]
    assert [Path(failure.case).name for failure in scans.skipped] == ["b-mask.nii.gz", "b_seg.nii.gz"]


def test_labelled_layouts_give_their_images_and_keep_the_test_cases_apart(tmp_path, phantom_data) -> None:
    assert len(find_scans([phantom_data]).cases) == 6
    assert len(find_scans([phantom_data], with_test_cases=True).cases) == 8
    assert {case.label for case in find_scans([phantom_data.parent]).cases} == {None}
    touch(tmp_path, "imagesTr/img0001.nii.gz", "labelsTr/label0001.nii.gz", "imagesTs/img0061.nii.gz")
    assert [case.id for case in find_scans([tmp_path]).cases] == ["img0001"]


def test_the_channels_of_brats_make_one_scan(tmp_path) -> None:
    touch(tmp_path, *(f"case_1/case_1_{name}.nii.gz" for name in ("flair", "t1ce", "seg")))
    (case,) = find_scans([tmp_path]).cases
    assert [image.name for image in case.images] == ["case_1_flair.nii.gz", "case_1_t1ce.nii.gz"]


def test_lists(tmp_path) -> None:
    touch(tmp_path, "a/x.nii.gz", "b/x.nii.gz", "c1.nii.gz", "c2.nii.gz")
    names = ["a/x.nii.gz", {"image": str(tmp_path / "b/x.nii.gz"), "label": "y"}]  # of one name, in two folders
    (tmp_path / "list.json").write_text(json.dumps(names))
    (tmp_path / "monai.json").write_text(json.dumps({"training": names[:1], "test": names[1:]}))
    (tmp_path / "channels.json").write_text(json.dumps([{"image": ["c1.nii.gz", "c2.nii.gz"]}]))
    (tmp_path / "list.csv").write_text("image\nb/x.nii.gz\n")
    assert found(tmp_path, tmp_path / "list.json") == ["a/x.nii.gz", "b/x.nii.gz"]
    assert found(tmp_path, tmp_path / "monai.json") == ["a/x.nii.gz"]
    assert found(tmp_path, tmp_path / "list.csv") == ["b/x.nii.gz"]
    (case,) = find_scans([tmp_path / "channels.json"]).cases
    assert [image.name for image in case.images] == ["c1.nii.gz", "c2.nii.gz"]


def test_a_list_cannot_name_what_lies_outside_its_folder(tmp_path) -> None:
    touch(tmp_path, "secret.nii.gz", "data/a.nii.gz")
    for name in ("../secret.nii.gz", str(tmp_path / "secret.nii.gz")):
        (tmp_path / "data" / "list.json").write_text(json.dumps([name]))
        with pytest.raises(DataError, match="outside the folder"):
            find_scans([tmp_path / "data" / "list.json"])


@pytest.mark.parametrize("text", ["[", "3", "[]", '{"test": []}', '[{"label": "a"}]', '[{"image": []}]', "[null]"])
def test_wrong_json_lists_are_refused_by_name(tmp_path, text) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(DataError, match=r"list\.json"):
        find_scans([tmp_path / "list.json"])


def test_a_file_counts_once_however_it_is_reached(tmp_path) -> None:
    touch(tmp_path, "in/a.nii.gz")
    (tmp_path / "in" / "again.nii.gz").symlink_to(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in", target_is_directory=True)
    assert found(tmp_path, tmp_path / "in", tmp_path / "in" / "a.nii.gz") == ["in/a.nii.gz"]


def test_exclusions_by_name_file_path_and_folder(tmp_path) -> None:
    touch(tmp_path, "data/a.nii.gz", "data/b.nii.gz", "data/c.nii.gz", "data/sub/d.nii.gz", "data/sub/e.nii.gz")
    touch(tmp_path, "data/f.nii.gz")
    listed = tmp_path / "exclude.txt"
    listed.write_text("# held back\na\nb.nii.gz\n\ndata/sub  # all of it\n" + str(tmp_path / "data" / "f.nii.gz"))
    scans = find_scans([tmp_path / "data"], exclude=read_exclusions(listed))
    assert [case.id for case in scans.cases] == ["c"]
    assert len(scans.excluded) == 5


def test_a_path_excludes_no_namesake_and_hashes_are_kept_for_later(tmp_path) -> None:
    touch(tmp_path, "one/a.nii.gz", "two/a.nii.gz")
    (tmp_path / "exclude.json").write_text(json.dumps(["one/a.nii.gz", "0" * 32]))
    scans = find_scans([tmp_path], exclude=read_exclusions(tmp_path / "exclude.json"))
    assert [case.images[0].parent.name for case in scans.cases] == ["two"]
    assert scans.exclusions.hashes == {"0" * 32}


def test_overlap_with_the_test_is_an_error(tmp_path) -> None:
    touch(tmp_path, "data/a.nii.gz", "data/b.nii.gz", "other/c.nii.gz")
    with pytest.raises(DataError, match=r"1 scan belongs to the test too: .*b\.nii\.gz"):
        find_scans([tmp_path / "data"], test=[tmp_path / "data" / "b.nii.gz"])
    scans = find_scans([tmp_path / "data"], test=[tmp_path / "other", tmp_path / "data" / "b.nii.gz"], exclude=["b"])
    assert [case.id for case in scans.test] == ["c", "b"]


def test_nothing_to_use_is_an_error(tmp_path) -> None:
    touch(tmp_path, "data/a.nii.gz", "notes.txt")
    (tmp_path / "empty").mkdir()
    for paths, exclude, words in (
        ([tmp_path / "empty"], (), "no scans to pre-train on"),
        ([tmp_path / "data"], ("a",), "1 are excluded"),
        ([tmp_path / "nowhere"], (), "no such file or folder"),
        ([tmp_path / "notes.txt"], (), "neither an image nor a folder"),
    ):
        with pytest.raises(DataError, match=words):
            find_scans(paths, exclude=exclude)


@pytest.mark.parametrize(("name", "text"), [("x.json", '{"a": 1}'), ("x.json", "[1]"), ("x.json", "[")])
def test_wrong_exclusions_are_refused_by_name(tmp_path, name, text) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        read_exclusions(tmp_path / name)
