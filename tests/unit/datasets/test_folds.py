"""Splits: whole, disjoint, no patient torn, classes spread; files of splits that are wrong are refused by name."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swin_unetr.datasets.folds import Folds, fit_to_cases, left_out, load_folds, make_folds
from swin_unetr.errors import DataError

GROUPS = st.lists(st.tuples(st.integers(1, 4), st.frozensets(st.integers(1, 6), max_size=6)), min_size=3, max_size=25)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(groups=GROUPS, num_folds=st.integers(3, 5), seed=st.integers(0, 3))
@example(groups=[(5, {1}), (1, {2, 3}), (1, {2, 4})] + [(1, frozenset())] * 3, num_folds=3, seed=0)
def test_folds_over_random_patients_and_classes(groups, num_folds, seed) -> None:
    num_folds = min(num_folds, len(groups))
    patient_of, classes = {}, {}
    for number, (scans, found) in enumerate(groups):
        for scan in range(scans):
            case = f"p{number:02d}_{scan}"
            patient_of[case] = f"p{number:02d}"
            # A class is of a patient if one of the scans has it.
            classes[case] = frozenset(name for name in found if (name + scan) % scans == 0 or scans == 1)
    folds = make_folds(patient_of, num_folds, seed, patient_of, classes).folds
    assert sorted(case for fold in folds for case in fold) == sorted(patient_of)
    assert all(folds)
    assert all(len({n for n, fold in enumerate(folds) if f"p{p:02d}_0" in fold}) == 1 for p in range(len(groups)))
    held = {patient_of[case]: number for number, fold in enumerate(folds) for case in fold}
    assert all(held[patient_of[case]] == number for number, fold in enumerate(folds) for case in fold)
    for name in {name for of in classes.values() for name in of}:
        patients = {patient_of[case] for case, of in classes.items() if name in of}
        if len(patients) >= num_folds > 2:
            assert len({held[patient] for patient in patients}) > 1, f"class {name} is confined to one fold"
    assert make_folds(reversed(list(patient_of)), num_folds, seed, patient_of, classes).folds == folds


@settings(max_examples=50, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 4), min_size=5, max_size=20), seed=st.integers(0, 5))
def test_a_split_where_all_cases_have_all_classes_is_that_without_classes(sizes, seed) -> None:
    groups = {f"c{number}_{scan}": str(number) for number, scans in enumerate(sizes) for scan in range(scans)}
    plain = make_folds(groups, 5, seed, groups)
    assert make_folds(groups, 5, seed, groups, dict.fromkeys(groups, (1, 2, 3))) == plain
    assert make_folds(groups, 5, seed, groups, {}) == plain


def test_a_rare_class_is_in_every_training_part_and_every_fold() -> None:
    ids = [f"case{number:02d}" for number in range(20)]
    for seed in range(20):
        for rare in (ids[:4], ids[::5], ids[3:9]):
            classes = {case: {1, 2} if case in rare else {1} for case in ids}
            folds = make_folds(ids, 4, seed, classes=classes).folds
            assert {len(set(fold) & set(rare)) for fold in folds} <= {1, 2, 3}
            assert max(map(len, folds)) - min(map(len, folds)) <= 2


def write(path: Path, folds: object, **values: object) -> Path:
    path.write_text(json.dumps({"seed": 1, "folds": folds, **values}), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        ([["a", "b"], ["b", "c"]], "1 case is listed twice, in training and validation at once: b;"),
        ([["a", "b"], ["b.nii.gz", "a"]], "2 cases are listed twice"),
        ([["a"], []], "fold 1 has no cases"),
        ([], "fold 0 has no cases"),
        (["ab", "c"], "is not a split file"),
        ([3], "is not a split file"),
        ({"a": 1}, "is not a split file"),
    ],
)
def test_split_files_that_are_wrong(tmp_path: Path, folds: object, words: str) -> None:
    with pytest.raises(DataError, match=rf"s\.json: {words}"):
        load_folds(write(tmp_path / "s.json", folds))


def test_a_split_is_fitted_to_the_cases(tmp_path: Path) -> None:
    path = write(tmp_path / "s.json", [["a.nii.gz", "b"], ["x\\c.nii"]])
    ids, patients = ["a", "b", "c", "d"], {"a": "p", "b": "p", "c": "q"}
    split = fit_to_cases(load_folds(path), path, ids, patients)
    assert split == Folds(seed=1, folds=(("a", "b"), ("c",)))
    assert left_out(split, ids) == "the split leaves out 1 of 4 cases: d"
    assert left_out(split, "abc") == ""
    with pytest.raises(DataError, match=r"names 1 case that the data do not have: b \(did you mean B\?\)"):
        fit_to_cases(load_folds(path), path, ["a", "B", "c"], {})
    torn = r"s\.json: puts the scans of 1 patient into several folds.* q \(q: b, c\); keep the scans of a patient"
    with pytest.raises(DataError, match=torn):
        fit_to_cases(load_folds(path), path, ids, {**patients, "b": "q"})


def test_a_split_of_nnunet_says_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]))
    with pytest.raises(DataError, match=r"splits_final\.json: is a split of nnU-Net; write an object with 'folds'"):
        load_folds(path)
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"splits_final\.json: is not a split file"):
        load_folds(path)
