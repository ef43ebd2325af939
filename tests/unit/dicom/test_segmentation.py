"""SEG read back by highdicom, on the grid of the source and frame by frame."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dicom_results import TASK, phantom, write_series
from numpy.typing import NDArray

from swin_unetr.dicom.arguments import Encoding
from swin_unetr.dicom.out.segmentation import make_segmentation
from swin_unetr.dicom.out.source import RefusedSourceError, read_source
from swin_unetr.dicom.out.structures import Maker, split_by_presence, structures_of
from swin_unetr.errors import DataError
from swin_unetr.tasks import Task, brats

highdicom = pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")

MAKER = Maker("organs", "1.0", ("ab" * 32,))


def written(path: Path, scan: Path, labels: NDArray, task: Task = TASK, encoding: Encoding = "binary"):
    source = read_source(scan)
    there, _ = split_by_presence(structures_of(task), labels)
    uids = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    make_segmentation(source, labels, there, MAKER, uids, encoding).save_as(path, enforce_file_format=True)
    return source, there, highdicom.seg.segread(path)


def by_slices(read, source, number: int) -> NDArray:
    """The voxels of a segment, X x Y x Z in the order of the source's slices, by what its frames refer to."""
    if source.is_framed():
        planes = read.get_pixels_by_source_frame(
            source.first.SOPInstanceUID,
            [of.frame for of in source.slices],
            segment_numbers=[number],
            assert_missing_frames_are_empty=True,
            ignore_spatial_locations=True,
        )
    else:
        uids = [source.by_path[of.path].SOPInstanceUID for of in source.slices]
        planes = read.get_pixels_by_source_instance(
            uids, segment_numbers=[number], assert_missing_frames_are_empty=True, ignore_spatial_locations=True
        )
    return planes[..., 0].transpose(2, 1, 0).astype(bool)


@pytest.mark.parametrize("encoding", ["binary", "labelmap"])
@pytest.mark.parametrize("scan", ["series", "frames"])
def test_voxels_come_back_on_the_slices_of_the_source(scan, encoding, request, tmp_path: Path) -> None:
    labels = phantom()
    source, there, read = written(tmp_path / "s.dcm", request.getfixturevalue(scan), labels, encoding=encoding)
    assert source.geometry.shape == labels.shape
    assert [one.name for one in there] == ["liver", "left kidney", "thing"]
    for number, one in enumerate(there, 1):
        np.testing.assert_array_equal(by_slices(read, source, number), labels == one.values[0])


def test_each_frame_lies_where_its_slice_does(series: Path, tmp_path: Path) -> None:
    source, _, read = written(tmp_path / "s.dcm", series, phantom())
    positions = {of.instance: of.origin for of in source.slices}
    for group in read.PerFrameFunctionalGroupsSequence:
        reference = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(np.array(place, float), positions[reference], atol=1e-6)


def test_codes_side_algorithm_and_identity(series: Path, tmp_path: Path) -> None:
    source, _, read = written(tmp_path / "s.dcm", series, phantom())
    kidney = read.SegmentSequence[1]
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue) == ("SCT", "64033007")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert read.SegmentSequence[2].SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99SWINUNETR"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "organs"
    assert "ab" * 32 in algorithm.AlgorithmParameters
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert read[name].value == source.first[name].value
    assert read.SeriesInstanceUID != source.first.SeriesInstanceUID


def test_nested_regions_overlap_and_a_label_map_refuses_them(frames: Path, tmp_path: Path) -> None:
    labels = np.minimum(phantom(), 2)
    labels[5, 12, 3] = 4
    task = brats()
    source, there, read = written(tmp_path / "s.dcm", frames, labels, task)
    for number, target in enumerate(task.targets, 1):
        np.testing.assert_array_equal(by_slices(read, source, number), np.isin(labels, target.labels))
    region = read.SegmentSequence[2].AnatomicRegionSequence[0]
    assert region.CodeValue == "12738006"
    with pytest.raises(DataError, match="overlap"):
        make_segmentation(source, labels, there, MAKER, ("1.2", "1.3"), "labelmap")


@pytest.mark.parametrize("name", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_what_the_source_lacks_is_named(name: str, tmp_path: Path) -> None:
    scan = write_series(tmp_path / "series", **{name: None})
    with pytest.raises(RefusedSourceError, match=name):
        read_source(scan)


def test_a_source_that_is_no_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").touch()
    with pytest.raises(RefusedSourceError, match="not DICOM"):
        read_source(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("scan", ["series", "frames"])
def test_dciodvfy_finds_no_error(scan, request, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    written(tmp_path / "s.dcm", request.getfixturevalue(scan), phantom())
    said = subprocess.run(["dciodvfy", tmp_path / "s.dcm"], capture_output=True, text=True, check=False)
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
