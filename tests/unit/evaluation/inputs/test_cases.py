"""Pairing of files by the id of their case."""

import pytest

from swin_unetr.batch import Failure
from swin_unetr.errors import DataError
from swin_unetr.evaluation.inputs.cases import find_predictions, find_references, pair_cases
from swin_unetr.suggestions import nearest
from swin_unetr.tasks import brats


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def pair(pred, ref, selected=None):
    predictions = find_predictions(pred)
    references = find_references(ref, {*predictions, *(selected or ())})
    return pair_cases(predictions, references, selected, pred)


def ids(pairing):
    return [(pair.case, pair.prediction.name, pair.reference.name) for pair in pairing.pairs]


def test_folder_of_predictions_as_predict_leaves_it(tmp_path):
    folder = touch(
        tmp_path, "b.nii.gz", "a.nii", "a_probabilities.nii.gz", ".partial-1-c.nii.gz", "predictions.json", "a.json"
    )
    assert find_predictions(folder) == {"a": folder / "a.nii", "b": folder / "b.nii.gz"}
    assert find_predictions(folder / "b.nii.gz") == {"b": folder / "b.nii.gz"}


def test_folders_with_nothing_to_evaluate(tmp_path):
    empty = touch(tmp_path / "empty", "a_probabilities.nii.gz", "notes.txt")
    with pytest.raises(DataError, match="holds no label file"):
        find_predictions(empty)
    with pytest.raises(DataError, match="no such file or folder"):
        find_predictions(tmp_path / "typo")
    with pytest.raises(DataError, match="no such file or folder"):
        find_references(tmp_path / "typo.nii.gz", ())


def test_data_set_with_scans_alone(tmp_path):
    touch(tmp_path / "images", "a.nii.gz", "b.nii.gz")
    with pytest.raises(DataError, match=r"its 2 cases \(layout plain\) have no labels"):
        find_references(tmp_path, ("a",))
    touch(tmp_path / "labels", "b.nii.gz")
    assert find_references(tmp_path, ("a",)).labels == {"b": tmp_path / "labels" / "b.nii.gz"}


def test_two_files_of_a_case(tmp_path):
    with pytest.raises(DataError, match=r"a\.nii\.gz: has the same case id 'a' as .*a\.nii"):
        find_predictions(touch(tmp_path, "a.nii", "a.nii.gz"))


def test_every_reference_is_asked_for(tmp_path):
    pred, ref = touch(tmp_path / "pred", "b.nii.gz", "z.nii.gz"), touch(tmp_path / "ref", "a.nii.gz", "b.nii.gz")
    pairing = pair(pred, ref)
    assert ids(pairing) == [("b", "b.nii.gz", "b.nii.gz")]
    assert pairing.failures == (Failure("a", f"{pred}: has no prediction a.nii.gz; predict this case"),)
    assert pairing.notes == ("predictions without a reference, not evaluated (1): z",)


def test_selected_cases_only(tmp_path):
    names = [f"case{number}.nii.gz" for number in range(4)]
    pred, ref = touch(tmp_path / "pred", *names[1:]), touch(tmp_path / "ref", *names)
    pairing = pair(pred, ref, selected=("case2", "case1", "case1"))
    assert [case for case, *_ in ids(pairing)] == ["case1", "case2"]
    assert not pairing.failures
    assert not pairing.notes
    failures = pair(pred, ref, selected=("case0", "caes3", "case2")).failures
    assert [failure.case for failure in failures] == ["caes3", "case0"]
    assert "has no label of this case (the nearest name is case3)" in failures[0].message


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("img0001", "label0001"),
        ("BraTS20_Training_001", "BraTS20_Training_001_seg"),
        ("BraTS-GLI-00000-000", "BraTS-GLI-00000-000-seg"),
        ("label0001", "label0001"),
        ("scan_seg", "scan_seg"),
    ],
)
def test_label_files_named_after_their_case(prediction, reference, tmp_path):
    pred = touch(tmp_path / "pred", f"{prediction}.nii.gz")
    ref = touch(tmp_path / "ref", f"{reference}.nii.gz")
    assert ids(pair(pred, ref)) == [(prediction, f"{prediction}.nii.gz", f"{reference}.nii.gz")]


@pytest.mark.parametrize("with_scans", [True, False])
def test_brats_case_folders_need_no_complete_scans(with_scans, tmp_path):
    pred = touch(tmp_path / "pred", "case1.nii.gz", "case2.nii.gz")
    for case in ("case1", "case2"):
        touch(tmp_path / "ref" / case, f"{case}_seg.nii.gz")
    if with_scans:
        touch(tmp_path / "ref" / "case1", "case1_flair.nii.gz", "case1_t1ce.nii.gz")
        touch(tmp_path / "ref" / "case2", "case2_flair.nii.gz")
    expected = [(case, f"{case}.nii.gz", f"{case}_seg.nii.gz") for case in ("case1", "case2")]
    assert ids(pair(pred, tmp_path / "ref")) == expected
    assert find_references(tmp_path / "ref", ()).task == brats()
    alone = pair(pred / "case2.nii.gz", tmp_path / "ref" / "case2", selected=("case2",))
    assert ids(alone) == expected[1:]


def test_a_case_of_another_number_is_not_near():
    assert nearest("case_01", ["case_02", "cases_01"]) == "cases_01"
    assert nearest("case_01", ["case_1"]) == "case_1"
    assert nearest("case_01", ["case_02", "case_03"]) is None


def test_nothing_in_common_names_both_sides(tmp_path):
    pred = touch(tmp_path / "pred", "p1.nii.gz")
    ref = touch(tmp_path / "ref", *(f"r{number}.nii.gz" for number in range(5)))
    with pytest.raises(DataError) as raised:
        pair(pred, ref)
    message = str(raised.value)
    assert "no prediction (p1)" in message
    assert "(r0, r1, r2 and 2 more)" in message
    assert "\n" not in message


def test_files_beside_the_folders_of_a_data_set_are_none_of_its_labels(tmp_path):
    pred = touch(tmp_path / "pred", "a.nii.gz")
    touch(tmp_path / "data", "other.nii.gz", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz")
    assert ids(pair(pred, tmp_path / "data")) == [("a", "a.nii.gz", "a.nii.gz")]
    with pytest.raises(DataError, match=r"data: has no label of the wanted cases \(b\); it has those of a"):
        pair(pred, tmp_path / "data", selected=("b",))


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    touch(tmp_path, "mine.nii.gz", "truth.nii.gz")
    assert ids(pair(tmp_path / "mine.nii.gz", tmp_path / "truth.nii.gz")) == [("mine", "mine.nii.gz", "truth.nii.gz")]


def test_selected_cases_may_be_named_by_their_files(tmp_path):
    pred, ref = touch(tmp_path / "pred", "a.nii.gz"), touch(tmp_path / "ref", "a.nii.gz", "b.nii.gz")
    pairing = pair(pred, ref, selected=("a.nii.gz",))
    assert ids(pairing) == [("a", "a.nii.gz", "a.nii.gz")]
    assert pairing.failures == ()
