"""Files that people write beside scans, from any program and system; what matches nothing is said."""

import json
from pathlib import Path

import pytest
from layouts import listed, refused, touch

from swin_unetr.config_io import read_yaml
from swin_unetr.datasets import read_dataset, read_sound_cases
from swin_unetr.datasets.side_files import known_ids, read_json, read_names, read_table
from swin_unetr.errors import DataError

PATIENTS = {
    "plain": "case,patient\na,p1\nb,p1\n",
    "semicolons of Excel": "Case;Patient\r\na;p1\r\nb;p1\r\n",
    "tabs": "case\tpatient\na\tp1\nb\tp1\n",
    "blanks": "case, patient\n a , p1\nb, p1 \n\n",
    "byte order mark": "\ufeffcase,patient\na,p1\nb,p1\n",
    "files": "case,patient\na.nii.gz,p1\nb.nii,p1\n",
    "paths of Windows": "file,subject\nimages\\a.nii,p1\nimages\\b.nii,p1\n",
    "separator of Excel": "sep=;\ncase;patient\na;p1\nb;p1\n",
    "blanks in names": "Case ID;Patient ID\na;p1\nb;p1\n",
    "names of DICOM": "CaseID,PatientID\na,p1\nb,p1\n",
    "names of BIDS": "filename\tparticipant_id\na.nii\tp1\nb.nii\tp1\n",
    "more columns": 'age,case_id,Patient ID,Patient_ID\n3,a,,"p1"\n,b,x,p1\n',
}


@pytest.mark.parametrize("text", PATIENTS.values(), ids=PATIENTS)
def test_patients_in_any_form(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "images/a.nii", "images/b.nii")
    (tmp_path / "patients.csv").write_text(text, encoding="utf-8", newline="")
    assert read_dataset(tmp_path, require_labels=False).groups == {"a": "p1", "b": "p1"}


def test_utf_16_of_windows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(PATIENTS["tabs"], encoding="utf-16")
    assert read_table(tmp_path / "x.csv")[0] == ("case", "patient")
    (tmp_path / "x.json").write_text('{"a": "ü"}', encoding="cp1252")
    with pytest.raises(DataError, match=r"x\.json: is not UTF-8 text .*; save it as UTF-8$"):
        read_json(tmp_path / "x.json")


def test_patients_of_cases_that_are_not_there(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/case_0{number}.nii" for number in (1, 2, 3)))
    for text, count in (("case1,p\ncase2,p\n", "2 of 2"), ("case_01,p\ncase_02,p\nCASE_03,q\n", "1 of 3")):
        (tmp_path / "patients.csv").write_text(f"case,patient\n{text}")
        words = refused(tmp_path, require_labels=False)
        assert f"patients.csv: names {count} cases that are not there" in words
    assert "CASE_03 (did you mean case_03?)" in words
    (tmp_path / "patients.csv").write_text("case,patient\ncase_01,p\ncase_02,p\n")
    dataset = read_dataset(tmp_path, require_labels=False)
    assert dataset.notes == (
        "patients.csv does not name the patient of 1 of 3 cases, each of which counts as a patient of its own: case_03",
    )
    (tmp_path / "patients.csv").write_text("case,patient\ncase_01,p\ncase_01,q\n")
    assert "two patients for case_01: p and q" in refused(tmp_path, require_labels=False)
    (tmp_path / "patients.csv").write_text("case,patient\ncase_01,Doe, J\n")
    assert "row 2 has 3 cells for 2 columns" in refused(tmp_path, require_labels=False)


def test_patients_of_the_test_and_of_faulty_cases_are_there(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii", "images/b.nii", "images/b.nii.gz", "labels/a.nii", "labels/b.nii", "imagesTs/t.nii")
    (tmp_path / "patients.csv").write_text("case,patient\na,p\nb,p\nt,q\n")
    dataset, faults = read_sound_cases(tmp_path, with_test=False)
    assert dataset.groups == {"a": "p"}
    assert ["same case id 'b'" in str(fault) for fault in faults] == [True]
    (tmp_path / "images/b.nii").unlink()
    assert read_dataset(tmp_path, require_labels=True).groups == {"a": "p", "b": "p"}
    assert read_dataset(tmp_path / "images/a.nii", require_labels=False).groups == {}
    (tmp_path / "patients.csv").write_text("case,patient\na,p\nB,p\nT,q\n")
    with pytest.raises(DataError, match=r"2 of 3 .*: B \(did you mean b\?\), T \(did you mean t\?\); write the ids"):
        read_dataset(tmp_path, require_labels=False, with_test=False)


def test_columns_of_a_list_in_any_form(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.nii", "labels/a.nii")
    for head in ("Case ID,Image Path,Label Path,Patient ID", "case_id,image_path,label_path,PatientID"):
        (tmp_path / "cases.csv").write_text(f"{head}\nx,images/a.nii,labels/a.nii,p1\n")
        dataset = read_dataset(tmp_path, require_labels=True)
        assert (dataset.groups, dataset.channels) == ({"x": "p1"}, ())


def test_lists_of_dataset_json_that_are_none(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a.nii", "labelsTr/a.nii")
    values = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "x"}}
    for training in (None, {"a": 1}, "imagesTr"):
        (tmp_path / "dataset.json").write_text(json.dumps({**values, "training": training}))
        assert "dataset.json: 'training' should be a list of cases" in refused(tmp_path, require_labels=True)


def test_a_list_may_be_a_part_of_what_patients_csv_names(tmp_path: Path) -> None:
    for name, case in (("train.csv", "a"), ("later.csv", "b")):
        (tmp_path / name).write_text(f"image\n{case}.nii\n")
    (tmp_path / "patients.csv").write_text("case,patient\na,p\nb,p\n")
    assert read_dataset(tmp_path / "train.csv", require_labels=False).groups == {"a": "p"}
    (tmp_path / "patients.csv").write_text("case,patient\na1,p\nb,p\n")
    with pytest.raises(DataError, match=r"patients\.csv: .*a1 \(did you mean a\?\)"):
        read_dataset(tmp_path / "train.csv", require_labels=False)


def test_dataset_json_from_windows(tmp_path: Path) -> None:
    entry = {"image": ".\\imagesTr\\a.nii", "label": "labelsTr\\a.nii"}
    values = {"training": [entry], "labels": {"1": "x"}, "modality": {"0": "CT"}}
    (tmp_path / "dataset.json").write_text(json.dumps(values), encoding="utf-8-sig")
    assert listed(read_dataset(tmp_path, require_labels=True)) == {"a": (["imagesTr/a.nii"], "labelsTr/a.nii")}
    for outside, words in (("..\\..\\secret.nii", "outside the folder"), ("C:\\scans\\a.nii", "a Windows machine")):
        values["training"] = [{**entry, "image": outside}]
        (tmp_path / "dataset.json").write_text(json.dumps(values))
        assert words in refused(tmp_path)


def test_a_list_of_scans_in_an_archive_says_how_links_help(tmp_path: Path) -> None:
    touch(tmp_path, "archive/ct/x.nii")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/cases.csv").write_text(f"image\n{tmp_path}/archive/ct/x.nii\n")
    words = refused(tmp_path / "data", require_labels=False)
    assert f"(ln -s {tmp_path}/archive/ct {tmp_path}/data/ct) and list the paths below the link" in words
    (tmp_path / "data/ct").symlink_to(tmp_path / "archive/ct")
    (tmp_path / "data/cases.csv").write_text("case,image\nX.nii.gz,ct\\x.nii\n")
    assert listed(read_dataset(tmp_path / "data", require_labels=False)) == {"X": (["ct/x.nii"], None)}


def test_yaml_from_windows(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("name: t\r\n", encoding="utf-8-sig", newline="")
    assert read_yaml(tmp_path / "task.yaml") == {"name": "t"}


def test_a_pattern_that_fits_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "scans/a.nii", "masks/a.nii")
    (tmp_path / "layout.yaml").write_text("images: {CT: 'scans\\{case}.nii'}\nlabel: 'mask/{case}.nii'\n")
    assert "layout.yaml: 'mask/{case}.nii' fits no file" in refused(tmp_path)
    (tmp_path / "layout.yaml").write_text("images: {CT: 'scans\\{case}.nii'}\nlabel: 'masks\\{case}.nii'\n")
    assert listed(read_dataset(tmp_path, require_labels=True)) == {"a": (["scans/a.nii"], "masks/a.nii")}


def test_the_channels_of_a_task_in_another_order_than_the_files(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{case}/{name}.nii" for case in "ab" for name in ("flair", "t1", "seg")))
    task = "name: t\nmodality: MR\nchannels: [{}]\ntargets: [{{name: x, labels: [1], write_as: 1}}]\n"
    for channels, words in (("T1w, FLAIR", "T1w, FLAIR, but the files are flair, t1"), ("FLAIR", "1 channel, but")):
        (tmp_path / "task.yaml").write_text(task.format(channels))
        assert words in refused(tmp_path)
    for channels in ("FLAIR, T1w", "in, out"):
        (tmp_path / "task.yaml").write_text(task.format(channels))
        assert read_dataset(tmp_path, require_labels=True).task is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.txt", "\ufeff# all\r\na\r\n  data\\b #1.nii  # why\r\n\r\n"),
        ("x.csv", "image;note\na;1\ndata\\b #1.nii;2\n"),
        ("x.csv", "patient,Case ID\np,a\np,data\\b #1.nii\n"),
        ("x.csv", 'a\n"data\\b #1.nii"\n'),
        ("x.json", json.dumps(["a", "data\\b #1.nii"])),
    ],
)
def test_names(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    expected = ("a", "data\\b #1.nii") if name != "x.txt" else ("a", "data\\b")
    assert read_names(tmp_path / name) == expected


def test_ids_may_be_names_of_files() -> None:
    assert known_ids(["a.nii.gz", " x\\b.mha", "c.nii", "a"], {"a", "c.nii"}) == ("a", "b", "c.nii")


def test_a_list_whose_description_has_another_order_than_its_entries(tmp_path: Path) -> None:
    entry = {"image": {"T1": "t.nii", "FLAIR": "f.nii"}, "label": "l.nii"}
    values = {"training": [entry], "labels": {"1": "x"}, "modality": {"0": "FLAIR", "1": "T1w"}}
    (tmp_path / "cases.json").write_text(json.dumps(values))
    assert "names the channels FLAIR, T1w, but the files are T1, FLAIR" in refused(tmp_path)
    (tmp_path / "cases.json").write_text(json.dumps({**values, "modality": {"0": "T1w", "1": "FLAIR"}}))
    assert listed(read_dataset(tmp_path, require_labels=True)) == {"t": (["t.nii", "f.nii"], "l.nii")}
