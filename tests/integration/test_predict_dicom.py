"""`swin-unetr predict --dicom`: SEG beside the NIfTI, voxel for voxel, also for results that were kept."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_results import write_series

from swin_unetr.cli import main
from swin_unetr.config import InferenceConfig, IntensityConfig, PreprocessConfig
from swin_unetr.evaluation.inputs.cases import find_predictions
from swin_unetr.tasks import Task, exclusive

highdicom = pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")

TASK = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("liver", "right kidney")))
HU = PreprocessConfig(intensity=IntensityConfig(scheme="hu_window"))


def same(nifti: Path, seg: Path, series: Path) -> None:
    labels = np.asarray(nibabel.load(nifti).dataobj)
    headers = [pydicom.dcmread(path) for path in series.iterdir()]
    headers.sort(key=lambda header: header.ImagePositionPatient[2])
    read = highdicom.seg.segread(seg)
    for segment in read.SegmentSequence:
        value = next(target.write_as for target in TASK.targets if target.name == segment.SegmentLabel)
        planes = read.get_pixels_by_source_instance(
            [header.SOPInstanceUID for header in headers],
            segment_numbers=[segment.SegmentNumber],
            assert_missing_frames_are_empty=True,
            ignore_spatial_locations=True,
        )
        np.testing.assert_array_equal(planes[..., 0].transpose(2, 1, 0), labels == value)


@pytest.mark.slow
def test_results_are_written_as_dicom_and_found_as_before(make_model, tmp_path: Path, capsys) -> None:
    model = make_model("model", TASK, preprocess=HU, inference=InferenceConfig(roi_size=(32, 32, 32)))
    series = write_series(tmp_path / "series")
    bare = write_series(tmp_path / "bare", FrameOfReferenceUID=None)
    out = tmp_path / "out"
    command = ["predict", str(model), str(series), str(bare), "--output", str(out), "--device", "cpu"]
    command += ["--backend", "torch", "--precision", "float32"]
    assert main(command) == 0
    assert not (out / "dicom").exists()
    assert main([*command, "--dicom", "seg", "rtstruct"]) == 1  # the results are kept, one SEG is refused
    said = capsys.readouterr()
    assert "bare: no DICOM" in said.err
    assert "FrameOfReferenceUID" in said.err
    assert (out / "bare.nii.gz").is_file()
    assert sorted(path.name for path in (out / "dicom").iterdir()) == [
        "series.json",
        "series.rtstruct.dcm",
        "series.seg.dcm",
    ]
    same(out / "series.nii.gz", out / "dicom/series.seg.dcm", series)
    identity = pydicom.dcmread(next(series.iterdir()))
    assert str(identity.PatientName) not in said.err + said.out
    assert find_predictions(out).labels.keys() == {"series", "bare"}  # DICOM beside them is no prediction
