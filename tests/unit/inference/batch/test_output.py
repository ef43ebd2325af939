"""What is in the folder of the results stays, unless `predict` wrote it in the same way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from swin_unetr.batch import BatchReport
from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets import Case
from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.compute import Compute
from swin_unetr.inference.batch.output import check_method, check_output
from swin_unetr.inference.batch.record import (
    Records,
    labels_path,
    probabilities_path,
    record_path,
    run_record_path,
    source_files,
)
from swin_unetr.inference.engine.models import Ensemble
from swin_unetr.tasks import BTCV


def case(name: str, folder: Path) -> Case:
    path = folder / f"{name}.nii"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Case(id=name, images=(path,))


def records(output: Path, precision: str = "float32", part: tuple[int, int] | None = None) -> Records:
    compute = Compute(torch.device("cpu"), precision)
    return Records(output, Ensemble((), compute, BTCV, PreprocessConfig()), compute, [output], {}, part)


def predicted(of: Records, *cases: Case, with_probabilities: bool = False) -> None:
    """As `predict` leaves the folder."""
    for each in cases:
        of.write_case(each, source_files(each), {}, with_probabilities=with_probabilities)
        labels_path(of.output, each.id).touch()
        if with_probabilities:
            probabilities_path(of.output, each.id).touch()
    of.write_run("finished", BatchReport(done=[each.id for each in cases]), 1.0)


@pytest.fixture
def scans(tmp_path) -> list[Case]:
    return [case(name, tmp_path / "scans") for name in ("a", "b")]


@pytest.mark.parametrize(
    "name",
    ["a.json", "b.nii.gz", "a_probabilities.nii.gz", "predictions.json", "predictions.part-1-of-2.json", ".queue"],
)
@pytest.mark.parametrize("content", ["", "{", '{"Modality": "MR"}', "[]"])
def test_a_file_of_the_user_is_never_replaced(scans, tmp_path, name, content) -> None:
    """dcm2niix writes a.json beside a.nii."""
    out = tmp_path / "scans"
    (out / name).write_text(content)
    with pytest.raises(ConfigError, match=rf"^output: {out / name} was not written by predict and is kept"):
        check_output(out, scans, with_probabilities=True, part=(1, 2))
    if name == "a_probabilities.nii.gz":  # will not be written
        check_output(out, scans, with_probabilities=False)


def test_a_link_to_a_file_of_the_user_is_kept(scans, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.nii.gz").symlink_to(tmp_path / "elsewhere.nii.gz")
    with pytest.raises(ConfigError, match=r"a\.nii\.gz was not written by predict"):
        check_output(tmp_path / "out", scans, with_probabilities=False)


def test_what_predict_wrote_may_be_renewed(scans, tmp_path) -> None:
    out = tmp_path / "out"
    check_output(out, scans, with_probabilities=True)
    predicted(records(out), *scans, with_probabilities=True)
    check_output(out, scans, with_probabilities=True)
    record_path(out, "a").unlink()  # the record of the run speaks for it
    check_output(out, scans, with_probabilities=True)
    run_record_path(out, None).unlink()
    with pytest.raises(ConfigError, match=r"a\.nii\.gz was not written"):
        check_output(out, scans, with_probabilities=True)


@pytest.mark.parametrize("with_probabilities", [True, False])
def test_what_a_killed_process_was_writing_may_be_renewed(scans, tmp_path, with_probabilities) -> None:
    of = records(tmp_path / "out")
    of.will_write(scans, with_probabilities=with_probabilities)
    of.write_run("running", BatchReport(), 0.0)
    labels_path(of.output, "a").touch()
    check_output(of.output, scans, with_probabilities=True)
    probabilities_path(of.output, "a").touch()
    if with_probabilities:
        check_output(of.output, scans, with_probabilities=True)
    else:
        with pytest.raises(ConfigError, match=r"a_probabilities\.nii\.gz was not written"):
            check_output(of.output, scans, with_probabilities=True)


def test_probabilities_of_the_user_beside_labels_of_ours_are_kept(scans, tmp_path) -> None:
    out = tmp_path / "out"
    predicted(records(out), *scans)
    probabilities_path(out, "a").touch()
    check_output(out, scans, with_probabilities=False)
    with pytest.raises(ConfigError, match=r"a_probabilities\.nii\.gz was not written"):
        check_output(out, scans, with_probabilities=True)


def test_scans_and_folders_of_data_sets_are_kept(tmp_path) -> None:
    compressed = tmp_path / "images/c.nii.gz"
    compressed.parent.mkdir()
    compressed.touch()
    scan = Case(id="c", images=(compressed,))
    predicted(records(tmp_path / "images"), scan)
    with pytest.raises(ConfigError, match=r"images/c\.nii\.gz was not written"):
        check_output(tmp_path / "images", [scan], with_probabilities=False)
    (tmp_path / "set/labelsTr").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"output: .*set holds a data set"):
        check_output(tmp_path / "set", [scan], with_probabilities=False)


@pytest.mark.parametrize("names", [("a", "a_probabilities"), ("predictions",)])
def test_two_results_of_one_path_are_refused(tmp_path, names) -> None:
    cases = [case(name, tmp_path / "scans") for name in names]
    with pytest.raises(ConfigError, match="would be a result of"):
        check_output(tmp_path / "out", cases, with_probabilities=True)


def test_results_of_another_method_are_not_mixed_with_these(scans, tmp_path) -> None:
    out = tmp_path / "out"
    predicted(records(out), *scans)
    assert check_method(records(out), scans, overwrite=False) == []
    other = records(out, "bfloat16")
    words = r"output: .* holds results of another method \(different: precision\); name another --output, or renew"
    with pytest.raises(ConfigError, match=words):
        check_method(other, scans, overwrite=False)
    run_record_path(out, None).unlink()
    with pytest.raises(ConfigError, match="another method"):  # by the records of the cases
        check_method(other, scans, overwrite=False)
    assert check_method(other, scans, overwrite=True) == []


def test_results_of_another_method_that_stay_are_said(scans, tmp_path) -> None:
    out = tmp_path / "out"
    predicted(records(out), *scans)
    (note,) = check_method(records(out, "bfloat16"), scans[:1], overwrite=True)
    assert note == f"kept in {out}: 1 result of another method (different: precision): b"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.json", "predictions.json"])
def test_a_folder_where_a_file_will_be_written_is_told_beforehand(tmp_path, name) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"{name} was not written by predict and is kept"):
        check_output(tmp_path / "out", [case("a", tmp_path / "scans")], with_probabilities=False)


def test_a_run_that_was_to_renew_all_goes_on(scans, tmp_path) -> None:
    """The command that is printed when it is stopped has no --overwrite."""
    out = tmp_path / "out"
    predicted(records(out), *scans)
    other = records(out, "bfloat16")
    other.write_run("stopped", BatchReport(), 1.0)
    assert check_method(other, scans, overwrite=False) == []
    assert not other.is_done(scans[0], with_probabilities=False)


def test_results_of_an_older_version_are_neither_kept_nor_replaced(scans, tmp_path) -> None:
    out = tmp_path / "out"
    predicted(records(out), *scans)
    for path in (run_record_path(out, None), record_path(out, "a"), record_path(out, "b")):
        old = {name: value for name, value in json.loads(path.read_text()).items() if name not in ("key", "method")}
        path.write_text(json.dumps(old))
    assert not records(out).is_done(scans[0], with_probabilities=False)
    check_output(out, scans, with_probabilities=True)
    with pytest.raises(ConfigError, match=r"holds results of an older version, whose records .* --overwrite"):
        check_method(records(out), scans, overwrite=False)
    assert check_method(records(out), scans, overwrite=True) == []


def test_parts_keep_their_own_records(scans, tmp_path) -> None:
    out = tmp_path / "out"
    for number, each in enumerate(scans, start=1):
        predicted(records(out, part=(number, 2)), each)
    for number, each in enumerate(scans, start=1):
        record = json.loads((out / f"predictions.part-{number}-of-2.json").read_text())
        assert (record["cases"], record["part"], record["status"]) == ([each.id], f"{number}/2", "finished")
    whole = json.loads((out / "predictions.json").read_text())
    assert (whole["status"], whole["records"]) == ("in parts", "predictions.part-*-of-2.json")
    assert whole["task"]["name"] == "btcv"
    check_output(out, scans, with_probabilities=False, part=(2, 2))
    assert check_method(records(out, part=(2, 2)), scans, overwrite=False) == []
    with pytest.raises(ConfigError, match="precision"):
        check_method(records(out, "bfloat16", (2, 2)), scans, overwrite=False)
