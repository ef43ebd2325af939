"""The list of cases that a study gives its trainings says all that the data set says."""

from dataclasses import replace
from pathlib import Path

from swin_unetr.datasets import read_dataset
from swin_unetr.study.data import training_list, write_list


def test_patients_and_what_was_looked_for_are_in_the_list(phantom_data: Path, tmp_path: Path) -> None:
    dataset = read_dataset(phantom_data, require_labels=True)
    assert dataset.task is not None
    first, *others = dataset.cases
    cases = [replace(first, group="p1", labelled=frozenset({"liver", "aorta"})), *others]
    write_list(tmp_path / "list", cases, dataset.task, "not_looked_for")
    found = read_dataset(tmp_path / "list", require_labels=True)
    assert (found.layout, found.task, found.absent) == ("list", dataset.task, "not_looked_for")
    assert [(case.id, case.labelled) for case in found.cases] == [(case.id, case.labelled) for case in cases]
    assert found.cases[0].group == "p1"
    assert [path.resolve() for path in found.cases[0].images] == [path.resolve() for path in first.images]
    assert training_list(cases, dataset.task)["cases"][0]["labelled"] == ["aorta", "liver"]
