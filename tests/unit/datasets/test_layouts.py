"""Every folder layout: what it lists, how it is recognised, and what is wrong with it. No voxel is read."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from layouts import listed, refused, touch

from swin_unetr.datasets import LAYOUTS, Dataset, find_layout, read_dataset, read_sound_cases
from swin_unetr.errors import ConfigError
from swin_unetr.tasks import BTCV, Task, brats, exclusive

YEARS = {
    "2018": ("HGG/Brats18_2013_2_1/Brats18_2013_2_1{}.nii.gz", ("_flair", "_t1ce", "_t1", "_t2", "_seg")),
    "2020": ("BraTS20_Training_001/BraTS20_Training_001{}.nii", ("_flair", "_t1ce", "_t1", "_t2", "_seg")),
    "2021": ("BraTS2021_00000/BraTS2021_00000{}.nii.gz", ("_flair", "_t1ce", "_t1", "_t2", "_seg")),
    "2023": ("BraTS-GLI-00000-000/BraTS-GLI-00000-000{}.nii.gz", ("-t2f", "-t1c", "-t1n", "-t2w", "-seg")),
}


def decathlon(root: Path, **changes: Any) -> Path:
    """The layout of the Decathlon with two cases and a test."""
    names = [f"{folder}/liver_{number}.nii.gz" for folder in ("imagesTr", "labelsTr") for number in (0, 10)]
    touch(root, *names, "imagesTs/liver_7.nii.gz")
    values = {
        "name": "Liver",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "training": [
            {"image": f"./imagesTr/liver_{number}.nii.gz", "label": f"./labelsTr/liver_{number}.nii.gz"}
            for number in (10, 0)
        ],
        "test": ["./imagesTs/liver_7.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps({**values, **changes}))
    return root


# Decathlon


def test_decathlon(tmp_path: Path) -> None:
    dataset = read_dataset(decathlon(tmp_path), require_labels=True)
    assert dataset.layout == "decathlon"
    assert listed(dataset) == {
        "liver_0": (["imagesTr/liver_0.nii.gz"], "labelsTr/liver_0.nii.gz"),
        "liver_10": (["imagesTr/liver_10.nii.gz"], "labelsTr/liver_10.nii.gz"),
    }
    task = dataset.task
    assert task is not None
    assert (task.name, task.modality, task.channels, task.activation) == ("Liver", "CT", ("CT",), "softmax")
    assert [(target.name, target.labels, target.write_as) for target in task.targets] == [
        ("liver", (1,), 1),
        ("cancer", (2,), 2),
    ]


def test_decathlon_tests_come_where_no_label_is_needed(tmp_path: Path) -> None:
    dataset = read_dataset(decathlon(tmp_path), require_labels=False)
    assert list(listed(dataset)) == ["liver_0", "liver_10", "liver_7"]
    assert dataset.cases[2].label is None


def test_labels_by_name_and_several_channels(tmp_path: Path) -> None:
    names = {"background": 0, "edema": 1, "tumour": 3}
    changes = {"labels": names, "modality": None, "channel_names": {"10": "T2", "0": "FLAIR", "1": "T1w"}}
    task = read_dataset(decathlon(tmp_path, **changes), require_labels=True).task
    assert task is not None
    assert task.channels == ("FLAIR", "T1w", "T2")
    assert task.modality == "MR"
    assert [(target.name, target.labels) for target in task.targets] == [("edema", (1,)), ("tumour", (3,))]


def test_validation_lists_of_monai_are_cases_too(tmp_path: Path) -> None:
    root = touch(decathlon(tmp_path), "imagesTr/x.nii.gz", "labelsTr/x.nii.gz")
    decathlon(root, validation=[{"image": "imagesTr/x.nii.gz", "label": "labelsTr/x.nii.gz"}])
    assert list(listed(read_dataset(root, require_labels=True))) == ["liver_0", "liver_10", "x"]


@pytest.mark.parametrize("outside", ["../secret.nii.gz", "imagesTr/../../secret.nii.gz", "/etc/secret.nii.gz"])
@pytest.mark.parametrize("where", ["image", "label", "test"])
def test_a_description_may_not_lead_out_of_its_folder(tmp_path: Path, outside: str, where: str) -> None:
    entry = {"image": "imagesTr/liver_0.nii.gz", "label": "labelsTr/liver_0.nii.gz"}
    changes = {"test": [outside]} if where == "test" else {"training": [{**entry, where: outside}]}
    root = decathlon(tmp_path / "data", **changes)
    assert outside in refused(root, require_labels=False)


def test_links_in_the_folder_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decathlon(tmp_path / "data")
    elsewhere = (tmp_path / "data" / "imagesTr").rename(tmp_path / "elsewhere")
    (tmp_path / "data" / "imagesTr").symlink_to(elsewhere)
    assert len(read_dataset(tmp_path / "data", require_labels=True).cases) == 2
    monkeypatch.chdir(tmp_path / "data")
    assert len(read_dataset(Path(), require_labels=True).cases) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, "'labels'"),
        ({"labels": {"0": "background"}}, "at least one structure"),
        ({"labels": {"whole": [1, 2]}}, "'labels'"),
        ({"modality": None}, "channel_names"),
        ({"training": [{"image": "imagesTr/liver_0.nii.gz"}]}, "'label'"),
        ({"training": ["imagesTr/liver_0.nii.gz"]}, "'image'"),
        ({"training": []}, "no scans found"),
    ],
)
def test_a_damaged_description(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refused(decathlon(tmp_path, **changes))


def test_a_description_that_is_no_json_is_told_apart_from_none(tmp_path: Path) -> None:
    (decathlon(tmp_path) / "dataset.json").write_text("{")
    assert "not valid JSON" in refused(tmp_path, layout="decathlon")
    (tmp_path / "dataset.json").write_text("[]")
    assert "JSON object" in refused(tmp_path, layout="decathlon")
    (tmp_path / "dataset.json").unlink()
    assert "cannot be read" in refused(tmp_path, layout="decathlon")


def test_a_case_listed_twice(tmp_path: Path) -> None:
    entry = {"image": "imagesTr/liver_0.nii.gz", "label": "labelsTr/liver_0.nii.gz"}
    assert "'liver_0'" in refused(decathlon(tmp_path, training=[entry, entry]))


def test_the_real_hippocampus(test_data: Path) -> None:
    dataset = read_dataset(test_data / "Task04_Hippocampus", require_labels=True)
    assert (dataset.layout, len(dataset.cases)) == ("decathlon", 208)
    assert dataset.cases[0].id == "hippocampus_001"
    assert dataset.task is not None
    assert [target.name for target in dataset.task.targets] == ["Anterior", "Posterior"]
    assert dataset.task.modality == "MR"
    assert all(path.is_file() for case in dataset.cases for path in (*case.images, case.label) if path)


# BTCV


@pytest.mark.parametrize(("images", "labels"), [("imagesTr", "labelsTr"), ("img", "label")])
def test_btcv(tmp_path: Path, images: str, labels: str) -> None:
    names = [f"{images}/img0001.nii.gz", f"{images}/img0040.nii.gz"]
    touch(tmp_path, *names, f"{labels}/label0001.nii.gz", f"{labels}/label0040.nii.gz", "imagesTs/img0061.nii.gz")
    dataset = read_dataset(tmp_path, require_labels=True)
    assert (dataset.layout, dataset.task) == ("btcv", BTCV)
    assert listed(dataset) == {
        "img0001": ([names[0]], f"{labels}/label0001.nii.gz"),
        "img0040": ([names[1]], f"{labels}/label0040.nii.gz"),
    }
    assert list(listed(read_dataset(tmp_path, require_labels=False))) == ["img0001", "img0040", "img0061"]


def test_btcv_with_a_json_takes_its_task_from_there(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/img0001.nii.gz", "labelsTr/label0001.nii.gz")
    entry = {"image": "imagesTr/img0001.nii.gz", "label": "labelsTr/label0001.nii.gz"}
    labels = {"0": "background", **{str(target.write_as): target.name for target in BTCV.targets}}
    decathlon(tmp_path, name="btcv", labels=labels, training=[entry], test=[])
    dataset = read_dataset(tmp_path, require_labels=True)
    assert listed(dataset) == {"img0001": (["imagesTr/img0001.nii.gz"], "labelsTr/label0001.nii.gz")}
    assert dataset.task == BTCV
    assert listed(read_dataset(tmp_path, require_labels=True, layout="btcv"))["img0001"] == listed(dataset)["img0001"]


def test_btcv_tests_alone(tmp_path: Path) -> None:
    dataset = read_dataset(touch(tmp_path, "imagesTs/img0061.nii.gz"), require_labels=False)
    assert (dataset.layout, list(listed(dataset))) == ("btcv", ["img0061"])


def test_btcv_scan_without_its_label(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/img0001.nii.gz", "imagesTr/img0002.nii.gz", "labelsTr/label0001.nii.gz")
    assert "img0002" in refused(tmp_path)


# BraTS


@pytest.mark.parametrize("year", YEARS)
def test_brats_of_every_year(tmp_path: Path, year: str) -> None:
    pattern, endings = YEARS[year]
    files = [pattern.format(ending) for ending in endings]
    dataset = read_dataset(touch(tmp_path, *files), require_labels=True)
    assert dataset.layout == "brats"
    assert listed(dataset) == {Path(pattern).parent.name: (files[:4], files[4])}
    assert dataset.task == brats("brats2023" if year == "2023" else "brats2021")


def test_one_case_folder_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, endings = YEARS["2021"]
    folder = touch(tmp_path, *map(pattern.format, endings)) / "BraTS2021_00000"
    assert [case.id for case in read_dataset(folder, require_labels=True).cases] == ["BraTS2021_00000"]
    monkeypatch.chdir(folder)
    assert [case.id for case in read_dataset(Path(), require_labels=True).cases] == ["BraTS2021_00000"]


def test_grades_are_listed_together_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "HGG/b/b_flair.nii.gz", "LGG/a/a_flair.nii.gz", "HGG/b/b_seg.nii.gz", "LGG/a/a_seg.nii.gz")
    assert list(listed(read_dataset(tmp_path, require_labels=True))) == ["a", "b"]
    touch(tmp_path, "LGG/b/b_flair.nii.gz")
    assert "'b'" in refused(tmp_path)


def test_the_label_of_case_355_has_a_name_of_its_own(tmp_path: Path) -> None:
    case = "BraTS20_Training_355"
    touch(tmp_path, f"{case}/{case}_flair.nii", f"{case}/W39_1998.09.19_Segm.nii")
    assert listed(read_dataset(tmp_path, require_labels=True)) == {
        case: ([f"{case}/{case}_flair.nii"], f"{case}/W39_1998.09.19_Segm.nii")
    }


def test_channels_are_those_of_the_cases_in_the_published_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{case}/{case}_{ending}.nii.gz" for case in "ab" for ending in ("t2", "t1ce", "seg")))
    dataset = read_dataset(tmp_path, require_labels=True)
    assert dataset.task is not None
    assert dataset.task.channels == ("T1ce", "T2")
    assert listed(dataset)["b"][0] == ["b/b_t1ce.nii.gz", "b/b_t2.nii.gz"]


@pytest.mark.parametrize("left", [("t1ce", "seg"), ("seg",)])
def test_a_case_that_lacks_a_channel_is_named(tmp_path: Path, left: tuple[str, ...]) -> None:
    touch(tmp_path, *(f"a/a_{ending}.nii.gz" for ending in ("flair", "t1ce", "seg")))
    touch(tmp_path, *(f"b/b_{ending}.nii.gz" for ending in left))
    message = refused(tmp_path)
    assert message.startswith(str(tmp_path / "b"))
    assert "lacks FLAIR" in message


def test_two_files_of_one_channel(tmp_path: Path) -> None:
    message = refused(touch(tmp_path, "a/a_flair.nii", "a/a_flair.nii.gz", "a/a_seg.nii.gz"))
    assert "a_flair.nii.gz: has the same channel 'FLAIR' as " in message


def test_two_label_files_of_a_case_of_brats(tmp_path: Path) -> None:
    for case in "abc":
        touch(tmp_path, f"{case}/{case}_flair.nii.gz", f"{case}/{case}_t1.nii.gz", f"{case}/{case}_seg.nii.gz")
    touch(tmp_path, "a/a_seg.nii")
    assert refused(tmp_path).endswith("a: has two label files, a_seg.nii and a_seg.nii.gz; keep one")
    touch(tmp_path, "b/b_t1.nii")
    dataset, faults = read_sound_cases(tmp_path, with_test=True)
    assert [case.id for case in dataset.cases] == ["c"]
    assert sorted(fault.case or "" for fault in faults) == ["a", "b"]


@pytest.mark.parametrize(
    ("files", "twice", "case"),
    [
        (("imagesTr/{}_0000.nii.gz", "imagesTr/{}_0001.nii.gz", "labelsTr/{}.nii.gz"), "imagesTr/1_0001.nii", "1"),
        (("{}/ct.nii.gz", "{}/label.nii.gz"), "1/ct.nii", "1"),
        (("imagesTr/img000{}.nii.gz", "labelsTr/label000{}.nii.gz"), "labelsTr/label0001.nii", "img0001"),
    ],
)
def test_two_files_are_one_fault_of_their_case(files: tuple[str, ...], twice: str, case: str, tmp_path: Path) -> None:
    for name in "123":
        touch(tmp_path, *(file.format(name) for file in files))
    if "0001" in files[1]:
        values = {
            "channel_names": {"0": "T1", "1": "T2"},
            "labels": {"background": 0, "x": 1},
            "file_ending": ".nii.gz",
        }
        (tmp_path / "dataset.json").write_text(json.dumps(values))
    touch(tmp_path, twice)
    _, faults = read_sound_cases(tmp_path, with_test=True)
    assert [(fault.case, f"{tmp_path / twice}; rename" in str(fault)) for fault in faults] == [(case, True)]


def test_other_files_in_a_case_folder_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path, "a/a_flair.nii.gz", "a/a_seg.nii.gz", "a/registered_t1.nii.gz", "a/notes.txt", "log/out.txt")
    assert listed(read_dataset(tmp_path, require_labels=True)) == {"a": (["a/a_flair.nii.gz"], "a/a_seg.nii.gz")}


def test_the_real_brats(test_data: Path) -> None:
    dataset = read_dataset(test_data / "brats2013", require_labels=True)
    assert (dataset.layout, len(dataset.cases)) == ("brats", 4)
    assert dataset.task is not None
    assert dataset.task.channels == ("FLAIR", "T1ce")


# Plain


def test_pairs_of_folders(tmp_path: Path) -> None:
    touch(tmp_path, "images/b.nii.gz", "images/a.mha", "labels/a.nii.gz", "labels/b.nrrd", "images/notes.txt")
    dataset = read_dataset(tmp_path, require_labels=True)
    assert (dataset.layout, dataset.task) == ("plain", None)
    assert listed(dataset) == {"a": (["images/a.mha"], "labels/a.nii.gz"), "b": (["images/b.nii.gz"], "labels/b.nrrd")}


def test_what_a_plain_folder_leaves_out_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii.gz", "ct/b.nii.gz", "ct/c.mha", "texts/notes.txt")
    dataset = read_dataset(tmp_path, require_labels=False)
    assert [case.id for case in dataset.cases] == ["a"]
    assert dataset.notes == ("left out: the images in ct (2); name these folders to take them",)


def test_scans_alone(tmp_path: Path) -> None:
    names = ["a.nii", "b.nii.gz", "c.hdr", "d.nrrd", "e.mha", "f.mhd", "g.NII.GZ", "h.two.dots.nii.gz"]
    touch(tmp_path, *names, "c.img", "f.raw", "h.json")
    dataset = read_dataset(tmp_path, require_labels=False)
    assert listed(dataset) == {
        name: ([file], None) for name, file in zip([*"abcdefg", "h.two.dots"], names, strict=True)
    }
    alone = read_dataset(tmp_path / "b.nii.gz", require_labels=False)
    assert [(case.id, case.images) for case in alone.cases] == [("b", (tmp_path / "b.nii.gz",))]


def test_scans_named_after_their_sequence_are_no_brats(tmp_path: Path) -> None:
    touch(tmp_path / "one", "images/p_t1.nii.gz", "labels/p_t1.nii.gz")
    touch(tmp_path / "two", "images/p_t1.nii.gz", "images/q_t1.nii.gz", "labels/p_t1.nii.gz", "labels/q_t1.nii.gz")
    touch(tmp_path / "alone", "p_t1.nii.gz", "q_t1.nii.gz")
    for name, cases in {"one": ["p_t1"], "two": ["p_t1", "q_t1"], "alone": ["p_t1", "q_t1"]}.items():
        assert list(listed(read_dataset(tmp_path / name, require_labels=False))) == cases
        assert find_layout(tmp_path / name) == "plain"


def test_descriptions_beside_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii.gz", "labels/a.nii.gz")
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "CT"}, "labels": {"background": 0, "rib": 4}}')
    task = read_dataset(tmp_path, require_labels=True).task
    assert task is not None
    assert (task.modality, task.targets[0].name, task.targets[0].labels) == ("CT", "rib", (4,))
    (tmp_path / "task.yaml").write_text(
        "name: mine\nmodality: MR\nchannels: [T1]\nactivation: sigmoid\n"
        "targets:\n- {name: whole, labels: [1, 2], write_as: 1}\n- {name: core, labels: [2], write_as: 2}\n"
    )
    task = read_dataset(tmp_path, require_labels=True).task
    assert task is not None
    assert (task.name, task.channels, [target.labels for target in task.targets]) == ("mine", ("T1",), [(1, 2), (2,)])
    assert read_dataset(tmp_path, require_labels=True, task=BTCV).task == BTCV
    (tmp_path / "task.yaml").write_text("name: mine\nmodality: US\n")
    with pytest.raises(ConfigError, match=r"task\.yaml.*modality"):
        read_dataset(tmp_path, require_labels=True)


def test_missing_labels_are_named_up_to_five(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{name}.nii.gz" for name in "abcdefg"), "labels/g.nii.gz")
    assert "no label file for a, b, c, d, e and 1 more" in refused(tmp_path)
    assert len(read_dataset(tmp_path, require_labels=False).cases) == 7


# Whatever the layout


def test_nothing_there(tmp_path: Path) -> None:
    assert "no such" in refused(tmp_path / "absent")
    assert "no scans found" in refused(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "._a.nii.gz").touch()
    assert "no scans found" in refused(tmp_path)
    (tmp_path / "file.txt").touch()
    assert "is a file" in refused(tmp_path / "file.txt")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    message = refused(touch(tmp_path, "a.nii", "a.nii.gz"), require_labels=False)
    assert "a.nii;" in message
    assert "a.nii.gz" in message


def test_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=", ".join(("auto", *LAYOUTS))):
        read_dataset(tmp_path, layout="dicom", require_labels=True)


def test_a_layout_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/img0001.nii.gz", "labelsTr/img0001.nii.gz")
    assert find_layout(tmp_path) == "btcv"
    dataset = read_dataset(tmp_path, layout="plain", require_labels=True)
    assert listed(dataset) == {"img0001": (["imagesTr/img0001.nii.gz"], "labelsTr/img0001.nii.gz")}


@pytest.mark.skipif(os.name == "nt", reason="names differ by case alone")
def test_reading_is_in_the_order_of_the_ids_whatever_the_file_system_says(tmp_path: Path) -> None:
    names = ["c", "B", "a", "case10", "case9"]
    touch(tmp_path, *(f"{name}.nii.gz" for name in names))
    assert list(listed(read_dataset(tmp_path, require_labels=False))) == sorted(names)


@pytest.mark.parametrize(("number", "end"), [(15, "s14, s15"), (41, "structures s1, s2, s3, … (41 in all)")])
def test_a_summary_names_no_more_structures_than_are_read(tmp_path: Path, number: int, end: str) -> None:
    targets = exclusive(tuple(f"s{place}" for place in range(1, number + 1)))
    task = Task(name="t", modality="CT", channels=("CT",), targets=targets)
    assert Dataset(root=tmp_path, layout="plain", cases=(), task=task).summary().endswith(end)


@pytest.mark.parametrize("nnunet", [False, True])
def test_a_link_to_nothing_is_a_case_that_cannot_be_read_and_not_one_less(tmp_path: Path, nnunet: bool) -> None:
    folders, number = (("imagesTr", "labelsTr"), "_0000") if nnunet else (("images", "labels"), "")
    touch(tmp_path, f"{folders[0]}/a{number}.nii.gz", f"{folders[1]}/a.nii.gz")
    if nnunet:
        names = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
        (tmp_path / "dataset.json").write_text(json.dumps({**names, "numTraining": 2}))
    (tmp_path / folders[0] / f"b{number}.nii.gz").symlink_to(".git/annex/objects/not_fetched.nii.gz")
    (tmp_path / folders[1] / "b.nii.gz").symlink_to("b.nii.gz")  # in a loop
    dataset = read_dataset(tmp_path, require_labels=True)
    assert {case.id: case.label and case.label.name for case in dataset.cases} == {"a": "a.nii.gz", "b": "b.nii.gz"}
