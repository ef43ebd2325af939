"""Lengths of an evaluation are millimetres whatever the header says them in, and what is odd stands in the report."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from swin_unetr.evaluation.run import evaluate
from swin_unetr.tasks import Task, exclusive

TASK = Task(name="one", modality="CT", channels=("CT",), targets=exclusive(("tumour",)))
CUBE = np.zeros((30, 30, 30), np.uint8)
CUBE[10:20, 10:20, 10:20] = 1


def save(path: Path, array: Any, affine: Any, units: str = "mm", codes: tuple[int, int] = (1, 1)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units(units)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    nibabel.save(image, path)
    return path


def figures(folder: Path) -> tuple[dict[str, Any], Any]:
    result = evaluate(folder / "pred", folder / "ref", task=TASK, output=folder / "report", pictures=1)
    assert not result.failures
    return {row.metric: row.value for row in result.rows}, result


@pytest.mark.parametrize(("units", "size", "hd95"), [("micron", 100.0, 0.2), ("meter", 0.001, 2.0), ("mm", 2.0, 4.0)])
def test_a_unit_is_converted(tmp_path: Path, units: str, size: float, hd95: float) -> None:
    affine = np.diag([size, size, size, 1])
    save(tmp_path / "ref/a.nii.gz", CUBE, affine, units)
    save(tmp_path / "pred/a.nii.gz", np.roll(CUBE, 2, 0), affine, units)
    found, result = figures(tmp_path)
    assert found["hd95_mm"] == pytest.approx(hd95)
    notes = " ".join(json.loads((tmp_path / "report/results.json").read_text())["notes"])
    assert ("cases whose files are odd (1): a (prediction: the voxel size is in" in notes) == (units != "mm")
    assert notes == " ".join(result.notes)


@pytest.mark.parametrize("codes", [(1, 1), (0, 1)])
def test_an_sform_that_lost_the_voxel_size_gives_no_voxels_for_millimetres(
    tmp_path: Path, codes: tuple[int, int]
) -> None:
    for path, labels in ((tmp_path / "ref/a.nii", CUBE), (tmp_path / "pred/a.nii", np.roll(CUBE, 1, 0))):
        save(path, labels, np.diag([10.0, 10, 10, 1]), codes=codes)
        content = bytearray(path.read_bytes())
        content[280:328] = np.eye(4)[:3].astype("<f4").tobytes()
        path.write_bytes(bytes(content))
    found, result = figures(tmp_path)
    assert found["hd95_mm"] == pytest.approx(10)
    assert "the sform has lost the voxel size" in " ".join(result.notes)


def test_a_reference_of_slicer_counts_what_lies_outside_its_box(tmp_path: Path) -> None:
    prediction = CUBE.copy()
    prediction[25:29, 25:29, 25:29] = 1
    save(tmp_path / "pred/p1.nii.gz", prediction, np.diag([-1.0, -1, 1, 1]))
    part = sitk.GetImageFromArray(CUBE.transpose(2, 1, 0))[8:22, 8:22, 8:22]
    part.SetMetaData("Segment0_LabelValue", "1")
    part.SetMetaData("Segment0_Name", "tumour")
    (tmp_path / "ref").mkdir()
    sitk.WriteImage(part, str(tmp_path / "ref/p1.seg.nrrd"), True)
    found, _ = figures(tmp_path)
    assert found["dice"] == pytest.approx(2 * 1000 / (2 * 1000 + 64))


def test_a_scan_in_place_of_a_prediction_fails_its_case(tmp_path: Path) -> None:
    save(tmp_path / "ref/a.nii.gz", CUBE, np.eye(4))
    save(tmp_path / "pred/a.nii.gz", np.arange(27000).reshape(30, 30, 30).astype(np.int16), np.eye(4))
    (failure,) = evaluate(tmp_path / "pred", tmp_path / "ref", task=TASK).failures
    assert "label value" in failure.message
