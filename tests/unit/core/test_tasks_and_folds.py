"""Facts of tasks, folds, batch reports and atomic files."""

import json

import pytest

from swin_unetr.batch import BatchReport, Failure
from swin_unetr.datasets.folds import load_folds, make_folds
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import replacing, write_json
from swin_unetr.tasks import BRATS_CONVENTIONS, BTCV, Target, Task, brats, brats_convention, exclusive


def test_btcv_is_thirteen_organs_and_background():
    assert BTCV.num_classes == 14
    assert BTCV.known_labels == frozenset(range(14))
    assert BTCV.targets[5].name == "liver"
    assert BTCV.targets[5].labels == (6,)


@pytest.mark.parametrize(("year", "written"), [("brats2013", 4), ("brats2021", 4), ("brats2023", 3)])
def test_brats_regions_are_nested_and_painted_outside_in(year, written):
    task = brats(year)
    assert [target.name for target in task.targets] == ["TC", "WT", "ET"]
    core, whole, enhancing = (set(target.labels) for target in task.targets)
    assert enhancing < core < whole
    assert [task.targets[index].name for index in task.painting_order] == ["WT", "TC", "ET"]
    assert [target.write_as for target in task.targets] == [1, 2, written]
    assert task.num_classes == 3


@pytest.mark.parametrize(
    ("values", "fallback", "expected"),
    [
        ({0, 1, 2, 4}, "brats2021", "brats2021"),
        ({0, 1, 2, 3}, "brats2021", "brats2023"),
        ({1, 2, 3, 4}, "brats2021", "brats2013"),
        ({0, 2}, "brats2023", "brats2023"),
        ({0, 1, 4}, "brats2013", "brats2013"),
    ],
)
def test_convention_is_told_from_the_values(values, fallback, expected):
    assert brats_convention(values, fallback) == expected
    assert set(values) - {0} <= set(BRATS_CONVENTIONS[expected]["WT"])


def test_unknown_brats_value_is_refused():
    with pytest.raises(ValueError, match=r"\[7\]"):
        brats_convention({1, 2, 7})


def test_task_refuses_shared_values_of_exclusive_classes():
    shared = (Target(name="a", labels=(1, 2), write_as=1), Target(name="b", labels=(2,), write_as=2))
    with pytest.raises(ValueError, match="sigmoid"):
        Task(name="t", modality="CT", channels=("CT",), targets=shared)
    assert Task(name="t", modality="CT", channels=("CT",), targets=shared, activation="sigmoid").num_classes == 2


def test_target_refuses_background():
    with pytest.raises(ValueError, match="at least 1"):
        exclusive(("zero",), first=0)


def test_folds_are_a_partition_that_order_does_not_change():
    ids = [f"case{number:03d}" for number in range(23)]
    folds = make_folds(ids, 5, seed=1)
    assert sorted(case for fold in folds.folds for case in fold) == ids
    assert {len(fold) for fold in folds.folds} == {4, 5}
    assert make_folds(reversed(ids), 5, seed=1) == folds
    assert make_folds(ids, 5, seed=2) != folds
    training, validation = folds.split(2)
    assert not set(training) & set(validation)
    assert len(training) + len(validation) == 23


def test_the_scans_of_a_patient_stay_together_and_folds_even():
    ids = [f"case{number:02d}" for number in range(12)]
    groups = {case: patient for case, patient in zip(ids, "aaabbccddd", strict=False)}  # the last two have none
    folds = make_folds(ids, 3, seed=1, groups=groups).folds
    assert sorted(case for fold in folds for case in fold) == ids
    assert {len(fold) for fold in folds} == {4}
    for patient in "abcd":
        assert sum(any(groups.get(case) == patient for case in fold) for fold in folds) == 1
    assert make_folds(ids, 3, seed=1, groups={}) == make_folds(ids, 3, seed=1)
    with pytest.raises(DataError, match=r"6 patients cannot be dealt out to 7 folds"):
        make_folds(ids, 7, groups=groups)


def test_an_ignored_value_is_known_and_no_targets():
    task = Task(name="t", modality="CT", channels=("CT",), targets=exclusive(("a",)), ignore_label=2)
    assert task.known_labels == {0, 1, 2}
    assert task.num_classes == 2
    with pytest.raises(ValueError, match="ignore_label: 1"):
        Task(name="t", modality="CT", channels=("CT",), targets=exclusive(("a",)), ignore_label=1)


def test_all_holds_nothing_back():
    folds = make_folds("abcde", 2)
    assert folds.split("all") == (tuple("abcde"), tuple("abcde"))


def test_folds_survive_the_file(tmp_path):
    folds = make_folds("abcdefg", 3, seed=5)
    folds.save(tmp_path / "folds.json")
    assert load_folds(tmp_path / "folds.json") == folds
    (tmp_path / "folds.json").write_text('{"seed": 1}')
    with pytest.raises(DataError, match=r"folds\.json"):
        load_folds(tmp_path / "folds.json")


def test_impossible_folds():
    with pytest.raises(DataError, match="fewer folds"):
        make_folds("abc", 5)
    with pytest.raises(DataError, match="same id"):
        make_folds(["a", "a", "b"], 2)
    with pytest.raises(ConfigError, match="fold: 3"):
        make_folds("abc", 3).split(3)


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"dice": float("nan")})
    assert json.loads(path.read_text()) == {"dice": None}

    def write_and_fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_and_fail()
    assert json.loads(path.read_text()) == {"dice": None}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_batch_report_lists_what_failed():
    report = BatchReport(done=["a"], failures=[Failure("b", "b.nii.gz: truncated")])
    assert report.exit_code == 1
    assert report.summary().splitlines() == ["1 done, 1 failed", "  b: b.nii.gz: truncated"]
    assert BatchReport(done=["a"]).exit_code == 0
