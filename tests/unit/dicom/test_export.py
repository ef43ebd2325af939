"""Results in the folder of a prediction as DICOM: what is written, kept, refused and said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dicom_results import TASK, phantom, write_series

from swin_unetr.cli import main
from swin_unetr.config_io import to_dict
from swin_unetr.dicom.out.export import export_results, results_of
from swin_unetr.errors import DataError
from transforms.io import read_geometry, write_image, write_labels

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")


def predicted(folder: Path, scan: Path, case: str = "series") -> Path:
    """What predict leaves in its folder, as far as it matters here."""
    folder.mkdir(exist_ok=True)
    labels = folder / f"{case}.nii.gz"
    write_labels(labels, phantom(), read_geometry(scan), {1: "liver", 2: "left kidney", 3: "thing"})
    record = {
        "case": case,
        "prediction": labels.name,
        "sources": [{"path": str(scan)}],
        "models": [{"sha256": "ab" * 32}],
    }
    (folder / f"{case}.json").write_text(json.dumps(record))
    (folder / "predictions.json").write_text(json.dumps({"task": to_dict(TASK)}))
    return folder


@pytest.fixture
def results(series: Path, tmp_path: Path) -> Path:
    return predicted(tmp_path / "results", series)


def test_both_are_written_with_what_is_absent_and_kept_the_second_time(results: Path, tmp_path: Path, capsys) -> None:
    arguments = ["convert", str(results), "--dicom", "seg", "rtstruct", "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert "absent, left out: spleen; with private codes: thing" in said
    record = json.loads((tmp_path / "out/series.json").read_text())
    assert (record["absent"], record["private_codes"], record["state"]) == (["spleen"], ["thing"], "finished")
    seg = highdicom.seg.segread(tmp_path / "out/series.seg.dcm")
    assert [one.SegmentLabel for one in seg.SegmentSequence] == record["structures"]
    assert "ab" * 32 in seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    contours = pydicom.dcmread(tmp_path / "out/series.rtstruct.dcm")
    assert contours.SeriesInstanceUID != seg.SeriesInstanceUID
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


def test_the_same_result_has_the_same_uids_and_another_has_others(results: Path, series: Path, tmp_path: Path) -> None:
    def uids(name: str) -> tuple[str, str]:
        assert export_results(results_of(results), tmp_path / name, ["seg"]).exit_code == 0
        read = pydicom.dcmread(tmp_path / name / "series.seg.dcm")
        return read.SeriesInstanceUID, read.SOPInstanceUID

    first = uids("one")
    assert uids("two") == first
    other = phantom()
    other[0, 0, 0] = 1
    write_labels(results / "series.nii.gz", other, read_geometry(series))
    assert not set(uids("three")) & set(first)


def test_a_changed_result_renews_all_that_was_written(results: Path, series: Path, tmp_path: Path) -> None:
    export_results(results_of(results), tmp_path / "out", ["seg", "rtstruct"])
    before = pydicom.dcmread(tmp_path / "out/series.rtstruct.dcm").SOPInstanceUID
    write_labels(results / "series.nii.gz", np.minimum(phantom(), 1), read_geometry(series))
    assert export_results(results_of(results), tmp_path / "out", ["seg"]).exit_code == 0
    assert pydicom.dcmread(tmp_path / "out/series.rtstruct.dcm").SOPInstanceUID != before


@pytest.mark.parametrize("name", ["series.seg.dcm", "series.json"])
def test_a_file_of_somebody_else_is_kept(results: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    report = export_results(results_of(results), tmp_path / "out", ["seg"])
    assert "was not written by this program" in report.failures[0].message
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_a_scan_without_a_frame_of_reference_fails_alone_and_by_name(results: Path, tmp_path: Path) -> None:
    predicted(results, write_series(tmp_path / "bare", FrameOfReferenceUID=None), "bare")
    report = export_results(results_of(results), tmp_path / "out", ["seg"])
    assert report.done == ["series"]
    assert [failure.case for failure in report.failures] == ["bare"]
    assert "FrameOfReferenceUID" in report.failures[0].message
    assert not list((tmp_path / "out").glob("bare*"))


def test_values_without_a_structure_and_empty_results_are_refused(results: Path, series: Path, tmp_path: Path) -> None:
    for labels, words in ((phantom() * 5, "no structure of 'organs'"), (phantom() * 0, "holds no structure")):
        write_labels(results / "series.nii.gz", labels, read_geometry(series))
        assert words in export_results(results_of(results), tmp_path / "out", ["seg"]).failures[0].message
    write_image(results / "series.nii.gz", phantom(), np.diag([2.0, 2, 2, 1]))
    assert "grid" in export_results(results_of(results), tmp_path / "out", ["seg"]).failures[0].message


def test_a_label_file_that_names_its_structures(results: Path, series: Path, tmp_path: Path) -> None:
    file = str(results / "series.nii.gz")
    out = str(tmp_path / "out")
    assert main(["convert", file, "--dicom", "seg", "--source", str(series), "--output", out]) == 0
    assert len(highdicom.seg.segread(tmp_path / "out/series.seg.dcm").SegmentSequence) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of them"),
        (["--to", "plain", "--dicom", "seg"], "give one of them"),
        (["--dicom", "seg"], "--source SERIES"),
    ],
)
def test_arguments_that_do_not_go_together(results: Path, tmp_path: Path, arguments, words, capsys) -> None:
    file = str(results / "series.nii.gz")
    assert main(["convert", file, *arguments, "--output", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_without_results(tmp_path: Path, capsys) -> None:
    assert main(["convert", str(tmp_path), "--dicom", "seg", "--output", str(tmp_path / "out")]) == 1
    assert "holds no predictions.json" in capsys.readouterr().err


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "predictions.json").write_text(json.dumps({"task": to_dict(TASK)}))
    with pytest.raises(DataError, match=r"holds no CASE\.json of predict"):
        results_of(tmp_path)
