"""SEG and RTSTRUCT of real series: a tilted CT, Enhanced MR of one maker, legacy-converted CT, CT slices."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from swin_unetr.dicom.out.contours import make_contours
from swin_unetr.dicom.out.segmentation import make_segmentation
from swin_unetr.dicom.out.source import RefusedSourceError, read_source
from swin_unetr.dicom.out.structures import Maker, structures_of
from swin_unetr.tasks import Task, exclusive

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")
TASK = Task(name="organs", modality="CT", channels=("CT",), targets=exclusive(("liver", "left kidney")))
SCANS = (
    "dicom_zoo/gantry_tilt_ct/In/GE",
    "dicom_zoo/enhanced_mr/In/Siemens/XA10/6_1.dcm",
    "dicom_zoo/dcmqi_seg/segmentations/24x38x3/multiframe/mf.dcm",
    "dicom_zoo/pydicom_data/eCT_Supplemental.dcm",
    "dicom_zoo/mirp_seg_dicom4qi/data_5/image",
)


@pytest.mark.slow
@pytest.mark.parametrize("scan", SCANS)
def test_voxels_come_back_from_the_slices_of_real_scans(scan: str, test_data: Path, tmp_path: Path) -> None:
    source = read_source(test_data / scan)
    labels = np.zeros(source.geometry.shape, np.uint8)
    labels[4:20, 5:19, :2] = 1
    labels[8:12, 9:12] = 0
    labels[9:11, 10, -1] = 2
    maker, uids = Maker("organs", "1.0"), (pydicom.uid.generate_uid(), pydicom.uid.generate_uid())
    made = make_segmentation(source, labels, structures_of(TASK), maker, uids)
    made.save_as(tmp_path / "s.dcm", enforce_file_format=True)
    read = highdicom.seg.segread(tmp_path / "s.dcm")
    keys = {"assert_missing_frames_are_empty": True, "ignore_spatial_locations": True}
    for number in (1, 2):
        if source.is_framed():
            frames = [of.frame for of in source.slices]
            instance = source.first.SOPInstanceUID
            planes = read.get_pixels_by_source_frame(instance, frames, segment_numbers=[number], **keys)
        else:
            instances = [source.by_path[of.path].SOPInstanceUID for of in source.slices]
            planes = read.get_pixels_by_source_instance(instances, segment_numbers=[number], **keys)
        np.testing.assert_array_equal(planes[..., 0].transpose(2, 1, 0), labels == number)
    contours = make_contours(source, labels, structures_of(TASK), maker, uids, ("20260101", "1200"))
    contours.save_as(tmp_path / "r.dcm", enforce_file_format=True)
    if shutil.which("dciodvfy"):
        for name in ("s.dcm", "r.dcm"):
            said = subprocess.run(["dciodvfy", tmp_path / name], capture_output=True, text=True, check=False)
            errors = [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]
            assert [line for line in errors if "Module=<Patient>" not in line] == []  # copied, with the source's faults


def test_a_series_whose_uids_were_removed_is_refused_by_their_names(test_data: Path) -> None:
    with pytest.raises(RefusedSourceError, match="lacks SOPClassUID, SOPInstanceUID, StudyInstanceUID"):
        read_source(test_data / "ct/dicom_series")
