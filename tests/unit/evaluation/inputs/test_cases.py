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
    return pair_cases(predictions, find_references(ref, predictions.cases.union(selected or ())), selected)


def ids(pairing):
    return [(pair.case, pair.prediction.name, pair.reference.name) for pair in pairing.pairs]


def test_folder_of_predictions_as_predict_leaves_it(tmp_path):
    folder = touch(
        tmp_path, "b.nii.gz", "a.nii", "a_probabilities.nii.gz", ".partial-1-c.nii.gz", "predictions.json", "a.json"
    )
    assert find_predictions(folder).labels == {"a": folder / "a.nii", "b": folder / "b.nii.gz"}
    assert find_predictions(folder / "b.nii.gz").labels == {"b": folder / "b.nii.gz"}


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


def twice(folder, name):
    return f"{folder}/{name}.nii.gz: has the same case id {name!r} as {folder}/{name}.nii; rename or remove one of them"


@pytest.mark.parametrize("side", ["pred", "ref"])
def test_a_case_with_two_files_fails_and_the_others_go_on(side, tmp_path):
    pred, ref = (touch(tmp_path / name, "a.nii.gz", "b.nii.gz") for name in ("pred", "ref"))
    touch(tmp_path / side, "a.nii")
    pairing = pair(pred, ref)
    assert ids(pairing) == [("b", "b.nii.gz", "b.nii.gz")]
    assert pairing.failures == (Failure("a", twice(tmp_path / side, "a")),)
    assert not pairing.notes
    assert pair(pred, ref, selected=("b",)).failures == ()
    assert pair(pred, ref, selected=("a.nii.gz", "b")).failures == pairing.failures
    with pytest.raises(DataError) as raised:
        pair(pred, ref, selected=("a",))
    assert str(raised.value) == f"no case can be evaluated; {twice(tmp_path / side, 'a')}"


def test_two_files_on_both_sides_are_one_failure_that_names_all(tmp_path):
    pred, ref = (touch(tmp_path / name, "a.nii", "a.nii.gz", "b.nii.gz") for name in ("pred", "ref"))
    assert pair(pred, ref).failures == (Failure("a", f"{twice(pred, 'a')}; {twice(ref, 'a')}"),)


def test_a_third_file_does_not_stand_in_for_two(tmp_path):
    pred = touch(tmp_path / "pred", "a.nii.gz", "b.nii.gz")
    ref = touch(tmp_path / "ref", "a.nii", "a.nii.gz", "a_seg.nii.gz", "b.nii.gz")
    pairing = pair(pred, ref)
    assert ids(pairing) == [("b", "b.nii.gz", "b.nii.gz")]
    assert [failure.case for failure in pairing.failures] == ["a"]


def test_label_files_named_after_one_case_are_two_files_of_it(tmp_path):
    pred = touch(tmp_path / "pred", "a.nii.gz", "b.nii.gz")
    ref = touch(tmp_path / "ref", "a.nii.gz", "a_seg.nii.gz", "b_seg.nii.gz")
    (failure,) = pair(pred, ref).failures
    assert failure.case == "a"
    assert failure.message.startswith(f"{ref}/a_seg.nii.gz: has the same case id 'a' as {ref}/a.nii.gz;")


def test_two_files_without_a_reference_are_no_failure(tmp_path):
    pred = touch(tmp_path / "pred", "a.nii", "a.nii.gz", "b.nii.gz")
    touch(pred, "b_probabilities.nii", "b_probabilities.nii.gz")
    pairing = pair(pred, touch(tmp_path / "ref", "b.nii.gz"))
    assert not pairing.failures
    assert pairing.notes == ("predictions without a reference, not evaluated (1): a",)


@pytest.mark.parametrize(
    ("files", "case"),
    [
        (("images/{}.nii.gz", "labels/{}.nii.gz"), "case_{}"),
        (("imagesTr/img{}.nii.gz", "labelsTr/label{}.nii.gz"), "img000{}"),
    ],
)
def test_two_label_files_in_a_data_set(files, case, tmp_path):
    """The case keeps its id in BTCV, whose labels have other names than its images."""
    for number in (1, 2):
        name = case.format(number).removeprefix("img")
        touch(tmp_path / "data", *(file.format(name) for file in files))
        touch(tmp_path / "pred", f"{case.format(number)}.nii.gz")
    touch(tmp_path / "data", files[1].format(case.format(1).removeprefix("img")).removesuffix(".gz"))
    pairing = pair(tmp_path / "pred", tmp_path / "data")
    assert [pair.case for pair in pairing.pairs] == [case.format(2)]
    (failure,) = pairing.failures
    assert failure.case == case.format(1)
    assert "rename or remove one of them" in failure.message


def test_only_two_files_of_one_case(tmp_path):
    pred, ref = (touch(tmp_path / name, "a.nii", "a.nii.gz") for name in ("pred", "ref"))
    assert not find_predictions(pred).labels
    with pytest.raises(DataError, match=r"a\.nii\.gz: has the same case id 'a' as .*a\.nii"):
        find_references(ref, {"a"})
    with pytest.raises(DataError, match=r"no case can be evaluated; .*pred/a\.nii\.gz: has the same case id 'a'"):
        pair(pred, touch(tmp_path / "one", "a.nii.gz"))


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


def test_a_case_whose_zeros_a_spreadsheet_took_is_near():
    assert nearest("7", ["0070", "0007", "0017"]) == "0007"
    assert nearest("Case_0", ["case_10", "case_000"]) == "case_000"
    assert nearest("7", ["0070", "0017"]) is None


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
