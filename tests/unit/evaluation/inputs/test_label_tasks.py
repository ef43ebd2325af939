"""Where the meaning of labels comes from, and how each side is read."""

import json
from pathlib import Path

import pytest

from swin_unetr.config_io import to_dict
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.evaluation.inputs.label_tasks import find_labels, parse_labels
from swin_unetr.evaluation.inputs.reading import Labels, LabelValues, Tasks, check_values
from swin_unetr.tasks import BTCV, Target, Task, brats, exclusive

HIPPOCAMPUS = Task(name="Hippocampus", modality="MR", channels=("MRI",), targets=exclusive(("Anterior", "Posterior")))


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


def test_names_and_tasks_hold_for_both_sides(tmp_path):
    assert find_labels(BTCV, tmp_path, None).task is BTCV
    assert find_labels("btcv", tmp_path, HIPPOCAMPUS).task == BTCV
    named = find_labels("brats2023", tmp_path, None)
    assert named.task == brats("brats2023")
    assert not named.told_from_data
    assert find_labels("brats", tmp_path, None).told_from_data


def test_labels_by_name(tmp_path):
    task = find_labels(parse_labels(["liver=6", "tumour, whole=1,2", "a=b=3"]), tmp_path, None).task
    assert {target.name: target.labels for target in task.targets} == {
        "liver": (6,),
        "tumour, whole": (1, 2),
        "a=b": (3,),
    }


@pytest.mark.parametrize("items", [["liver"], ["liver="], ["=1"], ["liver=x"], ["liver=-1"], ["a=1", "a=2"], ["a=1,"]])
def test_labels_in_another_form(items):
    with pytest.raises(ConfigError, match=r"^labels: .* should be NAME=VALUE"):
        parse_labels(items)


@pytest.mark.parametrize("labels", [{"liver": 0}, {"liver": ()}, {}])
def test_labels_that_make_no_task(labels, tmp_path):
    with pytest.raises(ConfigError, match=r"^(labels|targets): (target|a task) .*needs"):
        find_labels(labels, tmp_path, None)


@pytest.mark.parametrize("where", ["model.json", "best/model.json"])
def test_task_of_a_model(where, tmp_path):
    write(tmp_path / where, {"task": to_dict(HIPPOCAMPUS)})
    labels = find_labels(tmp_path, tmp_path, None)
    assert labels == Labels(HIPPOCAMPUS, source=str(tmp_path))
    assert find_labels(str(tmp_path / where), tmp_path, None).task == HIPPOCAMPUS


def test_task_of_a_plain_data_set(tmp_path):
    write(tmp_path / "task.yaml", to_dict(HIPPOCAMPUS))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.nii.gz").touch()
    for path in (tmp_path, tmp_path / "task.yaml"):
        assert find_labels(path, tmp_path, None).task == HIPPOCAMPUS
    (tmp_path / "task.yaml").unlink()
    with pytest.raises(DataError, match="says nothing of what the labels mean"):
        find_labels(tmp_path, tmp_path, None)


def test_task_beside_the_predictions(tmp_path):
    write(tmp_path / "predictions.json", {"task": to_dict(HIPPOCAMPUS)})
    assert find_labels(None, tmp_path, None).task == HIPPOCAMPUS
    assert find_labels(None, tmp_path, HIPPOCAMPUS).source == str(tmp_path / "predictions.json")
    assert find_labels(None, tmp_path / "a.nii.gz", None).task == HIPPOCAMPUS
    with pytest.raises(ConfigError, match=r"Anterior=1, Posterior=2.*spleen=1.*--task or --labels"):
        find_labels(None, tmp_path, BTCV)


def test_task_of_the_record_of_a_case(tmp_path):
    """As where the record of the run was not copied along."""
    (tmp_path / "a.nii.gz").touch()
    write(tmp_path / "a.json", {"case": "a", "labels": {"kidneys": 2, "tumour": [1, 3]}})
    for predictions in (tmp_path, tmp_path / "a.nii.gz"):
        task = find_labels(None, predictions, None).task
        assert {target.name: target.labels for target in task.targets} == {"kidneys": (2,), "tumour": (1, 3)}
    write(tmp_path / "a.json", {"case": "a", "labels": {"TC": [1, 4], "WT": [1, 2, 4], "ET": [4]}})
    assert find_labels(None, tmp_path, brats("brats2023")).told_from_data


def test_task_of_the_data_set(tmp_path):
    assert find_labels(None, tmp_path, HIPPOCAMPUS).task == HIPPOCAMPUS
    assert find_labels(None, tmp_path, brats("brats2023")).told_from_data


def test_predictions_and_data_of_other_brats_years_agree_on_the_regions(tmp_path):
    write(tmp_path / "predictions.json", {"task": to_dict(brats("brats2021"))})
    assert find_labels(None, tmp_path, brats("brats2023")).told_from_data


def test_no_task_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"give --task brats\|btcv.*or --labels NAME=VALUE"):
        find_labels(None, tmp_path, None)
    with pytest.raises(ConfigError, match=r"btvc is not a file or folder, nor the name of a task \(brats, btcv"):
        find_labels("btvc", tmp_path, None)


def test_file_that_holds_no_task(tmp_path):
    with pytest.raises(DataError, match="holds no task"):
        find_labels(write(tmp_path / "model.json", {"kind": "encoder"}), tmp_path, None)
    with pytest.raises(ConfigError, match=r"model\.json"):
        find_labels(write(tmp_path / "model.json", {"task": {"name": "x", "modalty": "CT"}}), tmp_path, None)


def test_each_side_is_read_by_its_own_year():
    labels = Labels(brats(), source="brats", told_from_data=True)
    # The first case has no enhancing tumour on either side; the second tells both years.
    tasks = labels.tasks([LabelValues((0, 1, 2), (0, 1, 2)), LabelValues((0, 1, 2, 4), (0, 1, 2, 3))])
    assert tasks == Tasks(brats("brats2021"), brats("brats2023"))
    assert list(tasks.structures())[2] == ("ET", (4,), (3,))
    assert labels.tasks([LabelValues((1, 2, 4), (1, 3, 4))]).reference == brats("brats2013")


def test_four_beside_three_is_the_cavity_where_names_are_recent():
    labels = Labels(brats(), source="brats", told_from_data=True)
    tasks = labels.tasks([LabelValues((1, 2, 3), (1, 2, 3, 4))], recent=True)
    assert tasks == Tasks(brats("brats2023"), brats("brats2024"))
    assert list(tasks.structures()) == [("TC", (1, 3), (1, 3)), ("WT", (1, 2, 3), (1, 2, 3)), ("ET", (3,), (3,))]
    assert tasks.reference.known_labels == {0, 1, 2, 3, 4}
    assert labels.tasks([LabelValues((1, 2, 3), (1, 2, 3, 4))]).reference == brats("brats2013")


def test_a_case_with_unknown_values_tells_no_year():
    labels = Labels(brats(), source="brats", told_from_data=True)
    tasks = labels.tasks([LabelValues((1, 2, 3), (1, 2, 3)), LabelValues((1, 2, 3), (4, 9, 2))])
    assert tasks.reference == brats("brats2023")


def test_unknown_values_are_named():
    path = Path("ref/b.nii.gz")
    with pytest.raises(DataError) as raised:
        check_values((0, 2, 4, 9), brats("brats2023"), path)
    assert str(raised.value).startswith(f"{path}: holds label values [4, 9] that task brats2023 does not know")
    assert "\n" not in str(raised.value)


def test_named_year_is_taken_at_its_word():
    tasks = Labels(brats("brats2021"), source="brats2021").tasks()
    assert tasks.prediction == tasks.reference == brats("brats2021")
    with pytest.raises(DataError, match=r"\[3\]"):
        check_values((1, 2, 3), tasks.reference, Path("b.nii.gz"))


def test_target_of_several_values_knows_them_all():
    kidneys = Task(
        name="kidneys", modality="CT", channels=("CT",), targets=(Target(name="kidneys", labels=(2, 3), write_as=2),)
    )
    check_values((0, 2, 3), kidneys, Path("a.nii.gz"))
    with pytest.raises(DataError, match=r"\[1\]"):
        check_values((0, 1, 3), kidneys, Path("a.nii.gz"))
