"""RTSTRUCT read back with pydicom, and its lines filled by the even-odd rule, written out here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dicom_results import SHAPE, TASK, phantom
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from swin_unetr.dicom.out.contours import make_contours
from swin_unetr.dicom.out.outlines import outlines
from swin_unetr.dicom.out.source import read_source
from swin_unetr.dicom.out.structures import Maker, split_by_presence, structures_of

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")


def filled(line: NDArray, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Voxels whose centres a ray along X leaves an odd number of times through a closed line."""
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    inside = np.zeros(shape, bool)
    for (x1, y1), (x2, y2) in zip(line, np.roll(line, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


@settings(max_examples=60, deadline=None)
@given(arrays(bool, (9, 8), elements=st.booleans()))
def test_any_mask_comes_back_from_its_outlines(mask: NDArray[np.bool_]) -> None:
    back = np.zeros(mask.shape, bool)
    for line in outlines(mask):
        part = filled(line, mask.shape)
        assert not (back & part).any()
        back |= part
    np.testing.assert_array_equal(back, mask)


def test_a_hole_is_joined_to_its_outer_line() -> None:
    mask = np.ones((9, 9), bool)
    mask[2:4, 2:4] = mask[5:8, 5:8] = False
    assert len(outlines(mask)) == 1
    assert outlines(np.zeros((3, 3), bool)) == []


def read_back(path: Path, source, number: int) -> NDArray[np.bool_]:
    """The voxels of an ROI, from the millimetres of its contours and the headers of the slices alone."""
    read = pydicom.dcmread(path)
    roi = next(one for one in read.ROIContourSequence if one.ReferencedROINumber == number)
    back = np.zeros(SHAPE, bool)
    for contour in roi.ContourSequence:
        image = contour.ContourImageSequence[0]
        index = next(
            index
            for index, of in enumerate(source.slices)
            if source.by_path[of.path].SOPInstanceUID == image.ReferencedSOPInstanceUID
            and of.frame == image.get("ReferencedFrameNumber")
        )
        of = source.slices[index]
        points = np.array(contour.ContourData, float).reshape(-1, 3) - of.origin
        assert np.abs(points @ of.direction[:, 2]).max() < 2e-3
        back[:, :, index] ^= filled(points @ of.direction[:, :2] / of.spacing, SHAPE[:2])
    return back


@pytest.fixture(params=["series", "frames"])
def made(request, tmp_path: Path):
    source = read_source(request.getfixturevalue(request.param))
    there, _ = split_by_presence(structures_of(TASK), phantom())
    uids = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    contours = make_contours(source, phantom(), there, Maker("organs", "1.0", ("ab" * 32,)), uids, ("20260101", "1200"))
    contours.save_as(tmp_path / "r.dcm", enforce_file_format=True)
    return tmp_path / "r.dcm", source


def test_holes_parts_and_single_voxels_come_back(made) -> None:
    for number, value in enumerate((1, 2, 3), 1):
        np.testing.assert_array_equal(read_back(*made, number), phantom() == value)


def test_names_codes_and_identity(made) -> None:
    path, source = made
    read = pydicom.dcmread(path)
    assert [roi.ROIName for roi in read.StructureSetROISequence] == ["liver", "left kidney", "thing"]
    code = read.RTROIObservationsSequence[1].RTROIIdentificationCodeSequence[0]
    assert (code.CodeValue, code.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == ("64033007", "Left")
    assert read.PatientID == source.first.PatientID
    assert read.StudyInstanceUID == source.first.StudyInstanceUID != read.SeriesInstanceUID
    listed = read.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert len(listed.ContourImageSequence) == SHAPE[2]
    assert "ab" * 32 in read.StructureSetDescription


def test_dciodvfy_finds_no_error(made) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    said = subprocess.run(["dciodvfy", made[0]], capture_output=True, text=True, check=False)
    assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == []
