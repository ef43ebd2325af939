"""Which structures were looked for: every source, tolerant reading, precedence, and what is refused."""

import json
from pathlib import Path

import pytest

from swin_unetr.datasets import read_dataset, read_sound_cases
from swin_unetr.datasets.labelled import looked_for, partly_labelled, write_labelled
from swin_unetr.errors import DataError
from swin_unetr.evaluation.inputs.looked_for import beside_labels

TASK = """
name: organs
modality: CT
channels: [CT]
targets:
  - {name: liver, labels: [1], write_as: 1}
  - {name: right kidney, labels: [2], write_as: 2}
  - {name: left kidney, labels: [3], write_as: 3}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Plain pairs a, b, c with a task."""
    for case in "abc":
        for part in ("images", "labels"):
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / f"{case}.nii.gz").touch()
    (tmp_path / "task.yaml").write_text(TASK)
    return tmp_path


def labelled(root: Path) -> dict[str, set[str] | None]:
    cases = read_dataset(root, require_labels=True).cases
    return {case.id: None if case.labelled is None else set(case.labelled) for case in cases}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cases.csv", "case,labelled\na,liver;Right_Kidney\nb,all\n"),
        (
            "cases.csv",
            "\ufeffsep=;\r\nCase ID;Labelled\r\na.nii.gz;RIGHT KIDNEY|Liver\r\nimages\\b.nii.gz;ALL\r\nc;\r\n",
        ),
        ("patients.csv", "case,patient,labelled\na,1,liver|right-kidney\nb,2,all\nc,3,\n"),
        ("cases.json", json.dumps({"labelled": {"a": ["liver", "rightkidney"], "b": "all"}})),
        ("cases.json", json.dumps([{"case": "a", "labelled": "liver;right kidney"}, {"id": "b", "Labelled": "all"}])),
        ("cases.json", json.dumps({"cases": [{"case": "a", "labelled": ["Liver", "right kidney"]}, {"case": "b"}]})),
    ],
)
def test_every_table_says_the_same_beside_any_layout(root: Path, name: str, text: str) -> None:
    (root / name).write_bytes(text.encode())
    dataset = read_dataset(root, require_labels=True)
    assert dataset.layout == "plain"
    found = labelled(root)
    assert found["a"] == {"liver", "right kidney"}
    assert found["b"] in (None, {"liver", "right kidney", "left kidney"})
    assert found["c"] is None
    assert partly_labelled(dataset.cases, dataset.task) == {"a": ("liver", "right kidney")}
    assert looked_for(dataset.cases[0], dataset.task) == (True, True, False)
    assert looked_for(dataset.cases[2], dataset.task) == (True, True, True)


def test_a_list_of_cases_says_it_in_its_own_column(root: Path) -> None:
    (root / "cases.csv").write_text("image,label,labelled\nimages/a.nii.gz,labels/a.nii.gz,liver\n")
    dataset = read_dataset(root, require_labels=True)
    assert (dataset.layout, labelled(root)) == ("list", {"a": {"liver"}})
    # Asked for as a plain folder, the same table speaks of its cases by their images.
    plain = read_dataset(root, layout="plain", require_labels=True)
    assert [case.labelled for case in plain.cases] == [frozenset({"liver"}), None, None]


def test_a_side_table_may_name_patients_too(root: Path) -> None:
    (root / "cases.csv").write_text("case,patient,labelled\na,p,liver\nb,p,all\nc,q,all\n")
    assert read_dataset(root, require_labels=True).groups == {"a": "p", "b": "p", "c": "q"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("cases.csv", "case,labelled\na,lever\n", r"cases\.csv: a: .*1 structure .*lever \(did you mean liver\?\)"),
        ("cases.csv", "case,labelled\na,kidney\n", r"does not have: kidney"),
        ("cases.csv", "case,labelled\na1,liver\n", r"cases\.csv: names 1 of 1 cases that are not there: a1"),
        ("cases.csv", "case,labelled\na,liver\na,all\n", "says twice what was looked for in a: liver and all"),
        ("cases.csv", "case,labelled\n,liver\n", r"row 2 names no case"),
        ("cases.json", '{"labelled": {"a": 3}}', r"entry 'a': should list the names .* it holds 3"),
        ("cases.json", '[{"case": "a", "labelled": {"liver": true}}]', "entry 1: should list the names"),
    ],
)
def test_what_a_table_says_wrongly_is_named(root: Path, name: str, text: str, words: str) -> None:
    (root / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read_dataset(root, require_labels=True)
    dataset, faults = read_sound_cases(root, with_test=False)
    assert len(faults) == 1
    assert len(dataset.cases) == 3  # the scans are sound


def test_tables_that_contradict_each_other(root: Path) -> None:
    (root / "cases.csv").write_text("case,labelled\na,liver\n")
    (root / "patients.csv").write_text("case,patient,labelled\na,1,Liver\nb,2,liver\nc,3,\n")
    assert labelled(root) == {"a": {"liver"}, "b": {"liver"}, "c": None}
    (root / "cases.csv").write_text("case,labelled\na,left kidney\n")
    with pytest.raises(DataError, match=r"patients\.csv: of a it says that Liver .*cases\.csv says left kidney"):
        read_dataset(root, require_labels=True)


def test_an_evaluation_refuses_tables_that_contradict_each_other(root: Path) -> None:
    (root / "cases.csv").write_text("case,labelled\na,left kidney\n")
    (root / "patients.csv").write_text("case,patient,labelled\na,1,liver\n")
    for place in (root, root / "labels"):  # in the folder of the label files, and in the one above it
        with pytest.raises(DataError, match=r"patients\.csv: of a it says that liver .*cases\.csv says left kidney"):
            beside_labels(place, "abc")


def test_all_is_the_same_as_every_name_in_any_spelling(root: Path) -> None:
    every = {"liver", "right kidney", "left kidney"}
    (root / "cases.csv").write_text("case,labelled\na,All\nb,liver; Right_Kidney\nb,RIGHT KIDNEY;Liver\n")
    (root / "patients.csv").write_text("case,patient,labelled\na,1,Liver;left-kidney;right kidney\nb,1,\n")
    assert labelled(root) == {"a": every, "b": {"liver", "right kidney"}, "c": None}
    assert set(beside_labels(root, "abc").names) == {"a", "b"}


def test_test_cases_may_have_a_row(root: Path) -> None:
    (root / "imagesTs").mkdir()
    (root / "imagesTs" / "t.nii.gz").touch()
    (root / "cases.csv").write_text("case,labelled\nt,liver\na,liver\n")
    assert labelled(root) == {"a": {"liver"}, "b": None, "c": None}


def test_the_rule_of_a_task_is_no_part_of_the_task(root: Path) -> None:
    before = read_dataset(root, require_labels=True)
    (root / "task.yaml").write_text(f"{TASK}absent: not_looked_for\n")
    after = read_dataset(root, require_labels=True)
    assert (before.absent, after.absent) == ("background", "not_looked_for")
    assert before.task == after.task
    assert type(after.task) is type(before.task)


def test_what_is_written_is_read(root: Path) -> None:
    (root / "cases.csv").write_text("case,labelled\na,liver\nb,left kidney;liver\n")
    cases = read_dataset(root, require_labels=True).cases
    (root / "cases.csv").unlink()
    write_labelled(root, cases)
    assert read_dataset(root, require_labels=True).cases == cases
