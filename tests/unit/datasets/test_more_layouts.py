"""nnU-Net raw, BIDS, case folders, patterns and lists: what is listed, by itself, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from layouts import listed, refused, touch

from swin_unetr.datasets import Case, find_layout, read_dataset, read_sound_cases
from swin_unetr.datasets.patients import write_patients
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.tasks import Target

NNUNET = {
    "channel_names": {"0": "FLAIR", "1": "T1"},
    "labels": {"background": 0, "tumour": 1},
    "file_ending": ".nii.gz",
}


def nnunet(root: Path, **changes: Any) -> Path:
    images = [f"imagesTr/{case}_{channel}.nii.gz" for case in ("a", "b_7") for channel in ("0000", "0001")]
    touch(root, *images, "labelsTr/a.nii.gz", "labelsTr/b_7.nii.gz", "imagesTs/c_0000.nii.gz", "imagesTs/c_0001.nii.gz")
    (root / "dataset.json").write_text(json.dumps({**NNUNET, **changes}))
    return root


def test_nnunet(tmp_path: Path) -> None:
    dataset = read_dataset(nnunet(tmp_path, overwrite_image_reader_writer="SimpleITKIO"), require_labels=False)
    assert dataset.layout == "nnunet"
    assert listed(dataset) == {
        "a": (["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"], "labelsTr/a.nii.gz"),
        "b_7": (["imagesTr/b_7_0000.nii.gz", "imagesTr/b_7_0001.nii.gz"], "labelsTr/b_7.nii.gz"),
        "c": (["imagesTs/c_0000.nii.gz", "imagesTs/c_0001.nii.gz"], None),
    }
    assert [case.id for case in read_dataset(tmp_path, require_labels=True).cases] == ["a", "b_7"]
    task = dataset.task
    assert task is not None
    assert (task.channels, task.activation, task.ignore_label) == (("FLAIR", "T1"), "softmax", None)
    assert "layout nnunet: 3 cases, 2 with labels; channels FLAIR, T1; structures tumour" in dataset.summary()


def test_nnunet_regions_and_what_nobody_labelled(tmp_path: Path) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
    task = read_dataset(nnunet(tmp_path, labels=labels, regions_class_order=[1, 2, 3]), require_labels=True).task
    assert task is not None
    assert task.activation == "sigmoid"
    assert task.targets == (
        Target(name="whole", labels=(1, 2, 3), write_as=1),
        Target(name="core", labels=(2, 3), write_as=2),
        Target(name="enhancing", labels=(3,), write_as=3),
    )
    assert (task.ignore_label, sorted(task.known_labels)) == (4, [0, 1, 2, 3, 4])


def test_nnunet_folder_of_images_alone(tmp_path: Path) -> None:
    root = nnunet(tmp_path)
    assert list(listed(read_dataset(root / "imagesTs", require_labels=False))) == ["c"]
    cases = read_dataset(root / "imagesTr", require_labels=True).cases
    assert [(case.id, case.label) for case in cases] == [
        ("a", root / "labelsTr/a.nii.gz"),
        ("b_7", root / "labelsTr/b_7.nii.gz"),
    ]


def test_nnunet_of_version_1(tmp_path: Path) -> None:
    changes = {"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}], "file_ending": None}
    assert list(listed(read_dataset(nnunet(tmp_path, **changes), require_labels=True))) == ["a", "b_7"]


def test_nnunet_with_files_listed(tmp_path: Path) -> None:
    entry = {"images": ["elsewhere/x.nii.gz", "elsewhere/y.nii.gz"], "label": "elsewhere/z.nii.gz"}
    root = nnunet(tmp_path / "raw", dataset={"x": entry})
    assert listed(read_dataset(root, require_labels=True)) == {"x": (entry["images"], entry["label"])}
    for outside in ("../secret.nii.gz", "/etc/secret.nii.gz"):
        nnunet(root, dataset={"x": {**entry, "label": outside}})
        assert "outside the folder" in refused(root)
    nnunet(root, dataset={"x": {**entry, "images": ["x.nii.gz"]}})
    assert "lists 1 image for 2 channels" in refused(root)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": {"whole": [1, 2]}}, "regions_class_order"),
        ({"labels": {"whole": [1, 2], "core": 2}, "regions_class_order": [1]}, "needs 'labels'"),
        ({"labels": {"whole": [1, 2], "core": 2}}, "need 'regions_class_order' beside them"),
        ({"labels": {"a": 1, "ignore": 1}}, "ignore_label"),
        ({"file_ending": ".png"}, "3-D image"),
        ({"channel_names": {"0": "FLAIR", "1": "T1", "2": "T2"}}, "lacks a_0002 (T2)"),
        ({"channel_names": {"0": "FLAIR"}}, "names 1 channel"),
    ],
)
def test_nnunet_that_is_wrong(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refused(nnunet(tmp_path, **changes))


def bids(root: Path) -> Path:
    sessions = ["sub-01/anat/sub-01", "sub-02/ses-1/anat/sub-02_ses-1", "sub-02/ses-2/anat/sub-02_ses-2"]
    for session in sessions:
        touch(root, f"{session}_T1w.nii.gz", f"{session}_FLAIR.nii.gz", f"{session}_T1w.json")
        touch(root, f"derivatives/lesions/{session}_desc-lesion_dseg.nii.gz")
        touch(root, f"derivatives/brain/{session}_desc-brain_mask.nii.gz")
    touch(
        root, f"{sessions[0]}_run-2_T2w.nii.gz", "sub-01/func/sub-01_task-rest_bold.nii.gz", "dataset_description.json"
    )
    return root


def test_bids(tmp_path: Path) -> None:
    dataset = read_dataset(bids(tmp_path), require_labels=True)
    assert (dataset.layout, dataset.channels, dataset.task) == ("bids", ("FLAIR", "T1w"), None)
    assert listed(dataset)["sub-02_ses-1"] == (
        ["sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz", "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"],
        "derivatives/lesions/sub-02/ses-1/anat/sub-02_ses-1_desc-lesion_dseg.nii.gz",
    )
    assert dataset.groups == {"sub-01": "sub-01", "sub-02_ses-1": "sub-02", "sub-02_ses-2": "sub-02"}
    assert "run-2_T2w" in dataset.notes[0]
    assert "2 patients" in dataset.summary()


def test_bids_table_of_labels(tmp_path: Path) -> None:
    (bids(tmp_path) / "derivatives/lesions/desc-lesion_dseg.tsv").write_text(
        "index\tname\n0\tnothing\n2\tcore\n1\tedge\n"
    )
    task = read_dataset(tmp_path, require_labels=True).task
    assert task is not None
    assert [(target.name, target.labels) for target in task.targets] == [("edge", (1,)), ("core", (2,))]
    (tmp_path / "derivatives/lesions/desc-lesion_dseg.tsv").write_text("value\tname\n")
    (tmp_path / "derivatives/lesions/desc-lesion_dseg.tsv").write_text("value\tname\n1\ta\n")
    assert "'index' and 'name'" in refused(tmp_path)


def test_bids_sessions_that_are_incomplete(tmp_path: Path) -> None:
    touch(bids(tmp_path), "sub-03/anat/sub-03_T1w.nii.gz")
    assert len(read_dataset(tmp_path, require_labels=True).cases) == 3
    assert "sub-03: left out, lacks FLAIR" in read_dataset(tmp_path, require_labels=True).notes
    touch(tmp_path, "derivatives/lesions/sub-01/anat/sub-01_desc-other_dseg.nii.gz")
    assert "masks of 2 kinds (desc-lesion_dseg, desc-other_dseg)" in refused(tmp_path)


def test_bids_without_a_common_scan(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz")
    assert "no kind of scan is in all 2 sessions" in refused(tmp_path)


def test_a_fault_of_one_bids_session_is_noted_and_the_others_are_listed(tmp_path: Path) -> None:
    bids(tmp_path)
    others = {"sub-02_ses-1", "sub-02_ses-2"}

    def faults_beside(*cases: str) -> str:
        dataset, faults = read_sound_cases(tmp_path, with_test=False)
        assert ({case.id for case in dataset.cases}, dataset.channels) == (set(cases), ("FLAIR", "T1w"))
        assert all(case.label for case in dataset.cases)
        return "; ".join(map(str, faults))

    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii")
    assert "same session and kind" in refused(tmp_path)
    assert "sub-01_T1w.nii.gz: is of the same session and kind" in faults_beside(*others)
    (tmp_path / "sub-01/anat/sub-01_T1w.nii").unlink()

    touch(tmp_path, "derivatives/lesions/sub-01/anat/sub-01_desc-other_dseg.nii.gz")
    assert "masks of 2 kinds" in faults_beside("sub-01", *others)
    (tmp_path / "derivatives/lesions/sub-01/anat/sub-01_desc-other_dseg.nii.gz").unlink()

    for kind in ("T1w", "FLAIR"):
        (tmp_path / f"sub-01/anat/sub-01_{kind}.nii.gz").unlink()
    assert "no kind of scan is in all 3 sessions" in faults_beside(*others)


def test_bids_derivatives_that_are_no_masks_may_be_there_twice(tmp_path: Path) -> None:
    bids(tmp_path)
    touch(tmp_path, *(f"derivatives/{name}/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz" for name in ("one", "other")))
    assert len(read_dataset(tmp_path, require_labels=True).cases) == 3


def test_a_bids_scan_that_was_not_fetched_is_listed(tmp_path: Path) -> None:
    scan = bids(tmp_path) / "sub-01/anat/sub-01_T1w.nii.gz"
    scan.unlink()
    scan.symlink_to(tmp_path / ".git/annex/objects/nothing.nii.gz")
    dataset = read_dataset(tmp_path, require_labels=True)
    assert scan in dataset.cases[0].images
    assert dataset.channels == ("FLAIR", "T1w")


def test_case_folders(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{case}/{file}" for case in ("k1", "k2") for file in ("imaging.nii.gz", "segmentation.nii.gz")))
    dataset = read_dataset(tmp_path, require_labels=True)
    assert (dataset.layout, dataset.channels) == ("folders", ("imaging",))
    assert listed(dataset)["k2"] == (["k2/imaging.nii.gz"], "k2/segmentation.nii.gz")
    touch(tmp_path, "k2/k2_mask.nrrd")
    assert "two label files" in refused(tmp_path)


def test_case_folders_named_in_their_files_and_one_that_lacks_a_scan(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{case}/{case}-{file}" for case in ("p1", "p2") for file in ("ct.nii.gz", "pet.mha", "gt.mha")))
    assert listed(read_dataset(tmp_path, require_labels=True))["p1"] == (
        ["p1/p1-ct.nii.gz", "p1/p1-pet.mha"],
        "p1/p1-gt.mha",
    )
    (tmp_path / "p2/p2-pet.mha").unlink()
    assert find_layout(tmp_path) == "plain"  # not the same in each: no guess
    assert "case 'p2' lacks pet" in refused(tmp_path, layout="folders")


def test_case_folders_without_labels_are_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "k1/ct.nii.gz", "k2/ct.nii.gz")
    assert find_layout(tmp_path) == "plain"
    assert list(listed(read_dataset(tmp_path, layout="folders", require_labels=False))) == ["k1", "k2"]


def test_folders_of_images_and_labels_are_no_case_folders(tmp_path: Path) -> None:
    touch(tmp_path, "images/p_gt.nii.gz", "images/p_ct.nii.gz", "labels/p_gt.nii.gz", "labels/p_ct.nii.gz")
    assert find_layout(tmp_path) == "plain"


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path, *(f"ward{index % 2}/P{index}/{scan}_x/ct.nii" for index in (1, 2) for scan in ("s1", "s2")))
    touch(
        tmp_path, *(f"masks/P{index}/{scan}.nii.gz" for index in (1, 2) for scan in ("s1", "s2")), "masks/.P9/s1.nii.gz"
    )
    (tmp_path / "layout.yaml").write_text(
        'images: {CT: "*/{patient}/{case}_x/ct.nii"}\nlabel: "masks/{patient}/{case}.nii.gz"\n'
    )
    dataset = read_dataset(tmp_path, require_labels=True)
    assert (dataset.layout, dataset.channels) == ("folders", ("CT",))
    assert listed(dataset)["P2_s1"] == (["ward0/P2/s1_x/ct.nii"], "masks/P2/s1.nii.gz")
    assert dataset.groups["P1_s2"] == "P1"
    assert read_dataset(tmp_path / "layout.yaml", require_labels=True).cases == dataset.cases
    touch(tmp_path, "ward7/P1/s1_x/ct.nii")
    assert "make the pattern narrower" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('images: {CT: "../{case}.nii"}', DataError),
        ('images: {CT: "/data/{case}.nii"}', DataError),
        ('images: {CT: "ct.nii"}', ConfigError),
        ('images: {CT: "{name}.nii"}', ConfigError),
        ('images: {CT: "{case}.nii"}\nlabel: "{patient}.nii"', ConfigError),
        ("images: {}", ConfigError),
    ],
)
def test_patterns_that_are_wrong(tmp_path: Path, text: str, error: type[Exception]) -> None:
    touch(tmp_path, "a.nii")
    (tmp_path / "layout.yaml").write_text(text)
    with pytest.raises(error, match=r"layout\.yaml"):
        read_dataset(tmp_path, require_labels=False)


CSV = """case;patient;image_FLAIR;image_T1;label;remark
x;P1;a/f.nii;a/t.nii;a/l.nii;none

y;P1;b/f.nii;b/t.nii;b/l.nii
"""
ENTRIES = [
    {"id": "x", "patient": "P1", "image": {"FLAIR": "a/f.nii", "T1": "a/t.nii"}, "label": "a/l.nii"},
    {"id": "y", "subject": "P1", "image_FLAIR": "b/f.nii", "image_T1": "b/t.nii", "mask": "b/l.nii"},
]


@pytest.mark.parametrize(
    ("name", "text"), [("cases.csv", CSV), ("mine.tsv", CSV.replace(";", "\t")), ("cases.json", json.dumps(ENTRIES))]
)
def test_lists(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text("\ufeff" * name.endswith("sv") + text, encoding="utf-8")
    dataset = read_dataset(tmp_path if name.startswith("cases") else tmp_path / name, require_labels=True)
    assert (dataset.layout, dataset.channels, dataset.root) == ("list", ("FLAIR", "T1"), tmp_path)
    assert listed(dataset) == {"x": (["a/f.nii", "a/t.nii"], "a/l.nii"), "y": (["b/f.nii", "b/t.nii"], "b/l.nii")}
    assert dataset.groups == {"x": "P1", "y": "P1"}


def test_a_list_of_monai(tmp_path: Path) -> None:
    training = [{"image": ["a.nii", "b.nii"], "label": "l.nii", "fold": 0}]
    path = tmp_path / "datalist.json"
    path.write_text(
        json.dumps({"training": training, "test": ["t.nii"], "labels": {"0": "bg", "1": "x"}, "modality": {"0": "CT"}})
    )
    dataset = read_dataset(path, require_labels=True)
    assert listed(dataset) == {"a": (["a.nii", "b.nii"], "l.nii")}
    assert dataset.task is not None
    assert dataset.task.targets[0].name == "x"
    path.write_text(json.dumps(["one.nii.gz", "two.mha"]))
    assert list(listed(read_dataset(path, require_labels=False))) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,label\n../x.nii,l.nii\n", "outside the folder"),
        ("image,label\nx.nii,/etc/passwd\n", "outside the folder"),
        ("image,label\nlink/../x.nii,l.nii\n", "outside the folder"),
        ("image,case\nx.nii,../../y\n", "cannot be the id"),
        ("image,case\nx.nii,a\ny.nii,a\n", "two cases have the id 'a'"),
        ("label\nl.nii\n", "row 2 names no image"),
        ("image,image_T1\nx.nii,\ny.nii,z.nii\n", "different channels"),
        ("image\n", "no scans found"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "data" / "cases.csv").write_text(text)
    assert words in refused(tmp_path / "data", require_labels=False)


def test_a_list_is_no_folder_of_another_layout(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("image\nx.nii\n")
    for layout in ("plain", "nnunet", "brats"):
        assert "is a file where the folder" in refused(tmp_path / "cases.csv", layout=layout, require_labels=False)
    assert "no such file or folder" in refused(tmp_path / "absent.csv", layout="list", require_labels=False)


def test_a_json_list_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    for text, words in {
        "{": "not valid JSON",
        "[3]": "entry 1 should be an object",
        '[{"image": 3}]': "path of a file",
    }.items():
        path.write_text(text)
        assert words in refused(path, require_labels=False)


def test_a_link_in_decathlons_list_may_not_climb_out(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "labelsTr/a.nii")
    touch(tmp_path, "elsewhere/secret.nii", "elsewhere/images/a.nii")
    (root / "imagesTr").symlink_to(tmp_path / "elsewhere" / "images")
    for image in ("imagesTr/../secret.nii", "./imagesTr/a.nii"):
        entry = {"image": image, "label": "labelsTr/a.nii"}
        (root / "dataset.json").write_text(
            json.dumps({"training": [entry], "labels": {"1": "x"}, "modality": {"0": "CT"}})
        )
        if ".." in image:
            assert image in refused(root)
    assert read_dataset(root, require_labels=True).cases == (
        Case(id="a", images=(root / "imagesTr/a.nii",), label=root / "labelsTr/a.nii"),
    )


def test_patients_beside_any_layout(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii", "images/b.nii", 'images/c"1.nii')
    write_patients(tmp_path, {"a": "Doe, J", 'c"1': "Doe, J"})
    assert read_dataset(tmp_path, require_labels=False).groups == {"a": "Doe, J", 'c"1': "Doe, J"}
    (tmp_path / "patients.csv").write_text("id,name\n")
    assert "needs the columns case, patient" in refused(tmp_path, require_labels=False)


def test_scans_without_labels_beside_plain_pairs(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii", "labels/a.nii", "imagesTs/b.nii")
    assert list(listed(read_dataset(tmp_path, require_labels=True))) == ["a"]
    assert list(listed(read_dataset(tmp_path, require_labels=False))) == ["a", "b"]
