"""What `predict` writes lies on its source, voxel on voxel, for real scans and for awkward ones."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from swin_unetr import predict
from swin_unetr.config import InferenceConfig, IntensityConfig, PreprocessConfig
from swin_unetr.tasks import Task, exclusive

TORSO = Task(name="torso", modality="CT", channels=("CT",), targets=exclusive(("liver", "spleen", "bone")))
COARSE = PreprocessConfig(
    spacing_mm=(8.0, 8.0, 8.0), intensity=IntensityConfig(scheme="hu_window", window=(-175.0, 250.0))
)
#: Header fields that place the voxels in the patient.
PLACE = (
    *("pixdim", "qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


@pytest.fixture
def model(make_model) -> Path:
    return make_model("model", TORSO, preprocess=COARSE, inference=InferenceConfig(roi_size=(32, 32, 32), overlap=0.25))


def assert_same_grid(result: Path, source: Path) -> None:
    written, read = nibabel.load(result), nibabel.load(source)
    assert written.shape == read.shape
    assert np.array_equal(written.affine, read.affine)
    for field in PLACE:
        count = 4 if field == "pixdim" else None
        assert np.array_equal(written.header[field].ravel()[:count], read.header[field].ravel()[:count]), field
    for one, other in zip(written.header.get_qform(coded=True), read.header.get_qform(coded=True), strict=True):
        assert np.array_equal(one, other)
    assert type(written) is type(read)


@pytest.mark.parametrize("name", ["CT_AVM", "CT_pitch", "aorta_cropped", "pulmonary_cropped", "torso_3mm"])
def test_real_ct(test_data, model, tmp_path, name) -> None:
    source = test_data / "ct/volumes" / f"{name}.nii.gz"
    report = predict(model, source, tmp_path / "out", progress=False)
    assert (report.done, report.failures) == ([name], [])
    result = tmp_path / "out" / f"{name}.nii.gz"
    assert_same_grid(result, source)
    labels = nibabel.load(result)
    assert labels.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(labels.dataobj))) <= {0, 1, 2, 3}


def awkward_scans(folder: Path) -> list[Path]:
    """A tall thin slab, a single slice, an oblique anisotropic grid stored in PIL, one without qform, NIfTI-2, .nii."""
    rng = np.random.default_rng(0)

    def save(name: str, shape: tuple[int, ...], affine: np.ndarray, kind=nibabel.Nifti1Image, **codes: int) -> Path:
        image = kind(rng.integers(-200, 300, shape).astype(np.int16), affine)
        image.set_sform(affine, codes.get("sform", 1))
        image.set_qform(affine, codes.get("qform", 1))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, folder / name)
        return folder / name

    angle = np.deg2rad(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    oblique = np.eye(4)
    oblique[:3, :3] = turn @ np.array([[0, 0, -4.5], [-0.9, 0, 0], [0, -1.3, 0]])
    oblique[:3, 3] = (13.25, -71.5, 402.125)
    return [
        save("slab.nii.gz", (60, 50, 3), np.diag([2.0, 2.0, 5.0, 1])),
        save("slice.nii.gz", (40, 44, 1), np.diag([-3.0, -3.0, 8.0, 1])),
        save("oblique.nii.gz", (40, 61, 17), oblique),
        save("scanner.nii.gz", (20, 21, 22), np.diag([3.0, 3.0, 3.0, 1]), sform=4, qform=0),
        save("quaternion.nii", (20, 21, 22), np.diag([3.0, -3.0, 3.0, 1]), sform=0, qform=1),
        save("two.nii.gz", (20, 21, 22), oblique, nibabel.Nifti2Image),
    ]


def test_awkward_grids(model, tmp_path) -> None:
    (tmp_path / "scans").mkdir()
    scans = awkward_scans(tmp_path / "scans")
    report = predict(model, tmp_path / "scans", tmp_path / "out", save_probabilities=True, progress=False)
    assert report.failures == []
    for scan in scans:
        name = scan.name.split(".")[0]
        assert_same_grid(tmp_path / "out" / f"{name}.nii.gz", scan)
        probabilities = nibabel.load(tmp_path / "out" / f"{name}_probabilities.nii.gz")
        assert probabilities.shape == (*nibabel.load(scan).shape, 4)
        assert np.array_equal(probabilities.affine, nibabel.load(scan).affine)
        values = np.asarray(probabilities.dataobj)
        np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)
        labels = np.asarray(nibabel.load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        assert np.array_equal(labels, values.argmax(axis=-1))


def bright(path: Path, value: float) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj) > value


@pytest.mark.parametrize("name", ["CT_pitch", "aorta_cropped"])
def test_labels_lie_where_the_structure_is(test_data, make_threshold_model, tmp_path, name) -> None:
    """Tilted gantry and LPS: exact without resampling, and within its blur with it."""
    source = test_data / "ct/volumes" / f"{name}.nii.gz"
    voxels = np.asarray(nibabel.load(source).dataobj)
    value = float(np.percentile(voxels, 90)) + 0.5
    expected = bright(source, value)
    low, high = float(voxels.min()) - 1, float(voxels.max())
    for spacing, least in ((None, 1.0), ((1.5, 1.5, 1.5), 0.9)):
        model = make_threshold_model(low, high, value, spacing_mm=spacing)
        predict(model, source, tmp_path / str(spacing), progress=False)
        found = bright(tmp_path / str(spacing) / f"{name}.nii.gz", 0)
        dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        assert least <= dice <= 1
