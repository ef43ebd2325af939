import json
from pathlib import Path

import pytest

from swin_unetr.batch import Failure
from swin_unetr.errors import ConfigError
from swin_unetr.inference.batch.inputs import find_inputs
from swin_unetr.tasks import BTCV, brats, with_channels


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def find(*paths: Path, task=BTCV, layout="auto", selected=None, channels=None):
    return find_inputs(paths, task, layout=layout, selected=selected, channels=channels)


def test_files_and_folders_together(tmp_path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "more/b.nii", tmp_path / "more/c.nii.gz", tmp_path / "more/notes.txt")
    found = find(tmp_path / "a.nii.gz", tmp_path / "more", tmp_path / "more")
    assert [case.id for case in found.cases] == ["a", "b", "c"]
    assert found.failures == []


def test_paths_without_scans_are_failures_and_the_others_go_on(tmp_path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "report.pdf")
    (tmp_path / "empty").mkdir()
    absent = [tmp_path / "missing.nii.gz", tmp_path / "empty", tmp_path / "report.pdf"]
    found = find(tmp_path / "a.nii.gz", *absent, selected=["a", "z"])
    assert [case.id for case in found.cases] == ["a"]
    assert [failure.case for failure in found.failures] == [*(path.name for path in absent), "z"]
    assert all(str(path) in failure.message for path, failure in zip(absent, found.failures, strict=False))


def test_modalities_are_matched_by_name_in_the_order_of_the_model(tmp_path) -> None:
    for name in ("flair", "t1ce", "t1", "t2", "seg"):
        touch(tmp_path / f"BraTS2021_00001/BraTS2021_00001_{name}.nii.gz")
    for name in ("t2f", "t1c", "seg"):
        touch(tmp_path / f"BraTS-GLI-00002-000/BraTS-GLI-00002-000-{name}.nii.gz")
    found = find(tmp_path, task=brats(channels=("T2", "FLAIR")))
    assert [[path.name for path in case.images] for case in found.cases] == [
        ["BraTS2021_00001_t2.nii.gz", "BraTS2021_00001_flair.nii.gz"]
    ]
    folder = tmp_path / "BraTS-GLI-00002-000"
    assert found.failures == [
        Failure(folder.name, f"{folder}: lacks T2, which the model needs; it has T1ce, FLAIR"),
    ]
    assert [case.id for case in find(folder, task=brats(channels=("FLAIR",))).cases] == [folder.name]


def test_here_is_a_path_too(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "BraTS2021_00001"
    touch(folder / "BraTS2021_00001_t1.nii.gz")
    monkeypatch.chdir(folder)
    assert [case.id for case in find(Path("."), task=brats(channels=("T1",))).cases] == [folder.name]


def test_two_scans_of_one_id_are_refused(tmp_path) -> None:
    touch(tmp_path / "one/scan.nii.gz", tmp_path / "two/scan.nii.gz")
    with pytest.raises(ConfigError, match=r"one/scan.nii.gz and .*two/scan.nii.gz both give the case 'scan'"):
        find(tmp_path / "one", tmp_path / "two")


def test_unknown_layout_is_an_argument_error(tmp_path) -> None:
    with pytest.raises(ConfigError, match="layout"):
        find(tmp_path, layout="bids2")


def nnunet(root: Path, *names: str) -> Path:
    for number in range(len(names)):
        touch(root / f"imagesTr/a_{number:04d}.nii.gz")
    touch(root / "labelsTr/a.nii.gz")
    values = {"channel_names": dict(enumerate(names)), "labels": {"background": 0, "x": 1}, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(values))
    return root


@pytest.mark.parametrize(
    ("names", "order"),
    [(("FLAIR", "T1w"), "01"), (("t1", "Flair"), "10"), (("T1W", "T2w", "T2-FLAIR"), "20"), (("t2f", "t1n"), "01")],
)
def test_channels_of_another_spelling_are_matched(tmp_path, names, order) -> None:
    task = with_channels(BTCV, ("FLAIR", "T1w"))
    (case,) = find(nnunet(tmp_path, *names), task=task).cases
    assert [image.name for image in case.images] == [f"a_000{number}.nii.gz" for number in order]


def test_channels_that_do_not_match_are_refused_unless_the_user_says_their_order(tmp_path) -> None:
    task = with_channels(BTCV, ("FLAIR", "T1w"))
    found = find(nnunet(tmp_path, "T2", "ADC"), task=task)
    assert found.cases == []
    (failure,) = found.failures
    assert failure.message == (
        f"{tmp_path}: the names of its channels (T2, ADC) do not match those of the model (FLAIR, T1w); say what they "
        "are in the order of the files: --channels FLAIR T1w, or these in another order"
    )
    for given, order in (("FLAIR", "T1w"), "01"), (("t1", "flair"), "10"):
        (case,) = find(tmp_path, task=task, channels=given).cases
        assert [image.name for image in case.images] == [f"a_000{number}.nii.gz" for number in order]
    with pytest.raises(ConfigError, match=r"channels: FLAIR, T2 should be the names of the model's channels"):
        find(tmp_path, task=task, channels=("FLAIR", "T2"))


def test_channels_without_names_are_taken_in_the_order_of_the_model_which_is_said(tmp_path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps([{"image": ["a.nii", "b.nii"]}]))
    touch(tmp_path / "plain/a.nii")
    task = with_channels(BTCV, ("FLAIR", "T1w"))
    for path in (tmp_path / "cases.json", tmp_path / "plain"):
        found = find(path, task=task)
        assert [case.id for case in found.cases] == ["a"]
        assert any("channels are taken in the order of the model: FLAIR, T1w" in note for note in found.notes)
    assert find(tmp_path / "plain").notes == []


def test_one_channel_of_another_name_is_said(tmp_path) -> None:
    found = find(nnunet(tmp_path, "T2"), task=with_channels(BTCV, ("T1",)))
    assert [case.id for case in found.cases] == ["a"]
    assert f"{tmp_path}: its T2 is taken for the T1 of the model" in found.notes
    assert not any("taken for" in note for note in find(nnunet(tmp_path, "ct"), task=BTCV).notes)


def test_a_file_that_holds_its_channels_in_another_order_is_refused(tmp_path) -> None:
    entry = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    touch(*(tmp_path / path for path in entry.values()))
    values = {"training": [entry], "labels": {"1": "x"}, "modality": {"0": "FLAIR", "1": "T1w"}}
    (tmp_path / "dataset.json").write_text(json.dumps(values))
    assert len(find(tmp_path, task=with_channels(BTCV, ("flair", "t1"))).cases) == 1
    (failure,) = find(tmp_path, task=with_channels(BTCV, ("T1w", "FLAIR"))).failures
    assert "holds the channels FLAIR, T1w, and the model takes T1w, FLAIR; give each channel a file" in failure.message


def test_names_of_brats_are_matched_by_their_meaning(tmp_path) -> None:
    for name in ("t2f", "t1c", "t1n", "t2w", "seg"):
        touch(tmp_path / f"BraTS-GLI-00002-000/BraTS-GLI-00002-000-{name}.nii.gz")
    task = brats(channels=("t1n", "t1gd"))
    (case,) = find(tmp_path, task=task).cases
    assert [image.name[-10:-7] for image in case.images] == ["t1n", "t1c"]
    with pytest.raises(ConfigError, match="leave out --channels"):
        find(tmp_path, task=task, channels=("t1n", "t1gd"))


def test_two_files_of_a_channel_fail_once(tmp_path) -> None:
    for case in "ab":
        touch(*(tmp_path / f"{case}/{case}_{name}.nii.gz" for name in ("flair", "t1ce")))
    touch(tmp_path / "a/a_flair.nii")
    found = find(tmp_path, task=brats(channels=("FLAIR", "T1ce")))
    assert [case.id for case in found.cases] == ["b"]
    assert [failure.case for failure in found.failures] == ["a"]


def test_two_files_of_one_name_fail_and_the_others_go_on(tmp_path) -> None:
    touch(tmp_path / "a.nii", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    found = find(tmp_path)
    assert [case.id for case in found.cases] == ["b"]
    assert found.failures == [
        Failure("a", f"{tmp_path}/a.nii.gz: has the same case id 'a' as {tmp_path}/a.nii; rename or remove one of them")
    ]
    assert find(tmp_path, selected=["b"]).failures == []
    assert find(tmp_path, selected=["a"]).failures == found.failures


def test_selected_cases_may_be_named_by_their_files_and_near_names_are_told(tmp_path) -> None:
    touch(tmp_path / "case_01.nii.gz", tmp_path / "case_02.nii.gz")
    found = find(tmp_path, selected=["case_01.nii.gz", "CASE_02"])
    assert [case.id for case in found.cases] == ["case_01"]
    assert found.failures == [
        Failure("CASE_02", "no such case among the inputs (did you mean case_02?); check its name")
    ]


def test_a_wrong_list_of_patients_is_said_and_costs_no_prediction(tmp_path) -> None:
    touch(tmp_path / "a.nii.gz")
    (tmp_path / "patients.csv").write_text("case,patient\nA,p\n")
    found = find(tmp_path)
    assert ([case.id for case in found.cases], found.failures) == (["a"], [])
    assert any("patients.csv: names 1 of 1 cases that are not there: A (did you mean a?)" in of for of in found.notes)
