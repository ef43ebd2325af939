"""Writing on the grid of a source: nothing of the grid changes, and nothing half-written stays."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from swin_unetr.errors import DataError
from transforms.geometry import Geometry
from transforms.io import read_geometry, read_image, read_labels, write_channels, write_image, write_labels

SHAPE = (5, 6, 7)


def oblique(sheared: bool = False) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ np.diag((0.7, 0.8, 3.1))
    if sheared:
        affine[1, 2] += 0.8
    affine[:3, 3] = (-101.3, 55.1, 1203.7)
    return affine


AFFINES = {
    "ras": np.diag([1.0, 1, 1, 1]),
    "lps": np.array([[-0.7, 0, 0, 90], [0, -0.7, 0, 120.5], [0, 0, 5, -300], [0, 0, 0, 1.0]]),
    "permuted": np.array([[0, 0, 2.0, 9], [-1, 0, 0, 1], [0, 1.5, 0, 3], [0, 0, 0, 1]]),
    "oblique": oblique(),
    "sheared": oblique(sheared=True),
}


def assert_same_grid(written: Path, source: Path) -> None:
    """Every number of the header that places voxels, by nibabel alone."""
    one, other = nibabel.load(written), nibabel.load(source)
    assert one.shape[:3] == other.shape[:3]
    assert one.affine.tobytes() == other.affine.tobytes()
    assert type(one.header).sizeof_hdr == type(other.header).sizeof_hdr  # version of the format
    for get in ("get_sform", "get_qform"):
        matrix, code = getattr(one, get)(coded=True)
        source_matrix, source_code = getattr(other, get)(coded=True)
        assert code == source_code
        assert (matrix is None) == (source_matrix is None)
        assert matrix is None or matrix.tobytes() == source_matrix.tobytes()
    for field in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z"):
        assert one.header[field].tobytes() == other.header[field].tobytes(), field
    assert one.header["pixdim"][:4].tobytes() == other.header["pixdim"][:4].tobytes()
    assert one.header.get_xyzt_units()[0] == other.header.get_xyzt_units()[0]


@pytest.mark.parametrize(
    ("affine", "codes", "version", "shape"),
    [
        ("ras", (1, 1), 1, SHAPE),
        ("ras", (0, 0), 2, SHAPE),
        ("lps", (2, 0), 1, (5, 6, 1)),
        ("lps", (0, 4), 1, SHAPE),
        ("permuted", (1, 3), 1, (*SHAPE, 2)),
        ("oblique", (2, 0), 2, SHAPE),
        ("oblique", (1, 1), 1, (*SHAPE, 2)),
        ("sheared", (0, 2), 1, SHAPE),
        ("sheared", (1, 1), 1, (5, 6, 1)),
    ],
)
def test_the_grid_of_the_source_is_kept(
    tmp_path: Path, affine: str, codes: tuple[int, int], version: int, shape: tuple[int, ...]
) -> None:
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(np.zeros(shape, np.int16), AFFINES[affine])
    image.set_qform(AFFINES[affine], code=codes[0], strip_shears=True)
    image.set_sform(AFFINES[affine], code=codes[1])
    image.header.set_xyzt_units("mm", "sec")
    source, written, maps = tmp_path / "source.nii", tmp_path / "written.nii.gz", tmp_path / "maps.nii"
    nibabel.save(image, source)
    geometry = read_geometry(source)
    labels = np.random.default_rng(0).integers(0, 4, geometry.shape)
    write_labels(written, labels, geometry)
    assert_same_grid(written, source)
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(written).dataobj), labels)
    assert read_labels(written).geometry.difference(geometry) is None
    scores = np.random.default_rng(0).random((3, *geometry.shape), np.float32)
    write_channels(maps, scores, geometry)
    assert_same_grid(maps, source)
    np.testing.assert_array_equal(read_image([maps]).array, scores)


def test_real_scans_keep_their_grid(test_data: Path, tmp_path: Path) -> None:
    sources = sorted((test_data / "ct" / "volumes").glob("*.nii.gz"))
    sources += sorted((test_data / "brats2013").glob("*/*_flair.nii.gz"))[:1]
    sources += sorted((test_data / "Task04_Hippocampus" / "imagesTr").glob("[a-z]*.nii.gz"))[:3]
    assert len(sources) > 8
    for source in sources:
        geometry = read_geometry(source)
        write_labels(tmp_path / "written.nii.gz", np.ones(geometry.shape, np.uint8), geometry, {1: "all"})
        assert_same_grid(tmp_path / "written.nii.gz", source)


@pytest.mark.parametrize(
    ("highest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)]
)
def test_the_smallest_type_that_holds_the_labels(tmp_path: Path, highest: int, dtype: Any) -> None:
    labels = np.zeros(SHAPE, np.int64)
    labels[0, 0, 0] = highest
    write_labels(tmp_path / "labels.nii.gz", labels, Geometry(SHAPE, np.eye(4)))
    image = nibabel.load(tmp_path / "labels.nii.gz")
    assert image.get_data_dtype() == dtype
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert int(np.asanyarray(image.dataobj).max()) == highest


def test_the_source_tells_of_the_grid_not_of_the_voxels(tmp_path: Path) -> None:
    source = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4))
    source.header.set_slope_inter(2, -1024)
    source.header.set_intent("z score")
    source.header["cal_max"], source.header["descrip"], source.header["aux_file"] = 99, b"patient", b"elsewhere"
    source.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"about the scan"))
    nibabel.save(source, tmp_path / "source.nii")
    labels = np.full(SHAPE, 3)
    write_labels(tmp_path / "written.nii.gz", labels, read_geometry(tmp_path / "source.nii"))
    image = nibabel.load(tmp_path / "written.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), labels)
    assert image.header.get_intent()[0] == "none"
    assert image.header["cal_max"] == 0
    assert image.header["descrip"].item() == image.header["aux_file"].item() == b""
    assert not image.header.extensions


def test_label_names_stand_in_the_header(tmp_path: Path) -> None:
    names = {1: "spleen", 2: "Ösophagus", 13: "left adrenal gland"}
    for name in ("a.nii.gz", "b.nii"):
        write_labels(tmp_path / name, np.zeros(SHAPE, int), Geometry(SHAPE, np.eye(4)), names)
        (extension,) = nibabel.load(tmp_path / name).header.extensions
        assert extension.get_code() == 6  # free text
        content = extension.get_content()
        text = content if isinstance(content, str) else content.decode()
        assert json.loads(text) == {"labels": {str(value): words for value, words in names.items()}}
        assert read_labels(tmp_path / name).array.shape == (1, *SHAPE)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())
def test_a_source_that_is_no_nifti(tmp_path: Path, affine: NDArray[np.float64]) -> None:
    geometry = Geometry(SHAPE, affine)
    write_labels(tmp_path / "labels.nii.gz", np.ones(SHAPE, int), geometry)
    image = nibabel.load(tmp_path / "labels.nii.gz")
    np.testing.assert_allclose(image.affine, affine, rtol=1e-6, atol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert int(image.header["sform_code"]) > 0
    assert geometry.difference(read_geometry(tmp_path / "labels.nii.gz")) is None


def test_other_programs_find_the_labels_on_the_scan(tmp_path: Path) -> None:
    scan = sitk.GetImageFromArray(np.zeros(SHAPE[::-1], np.float32))
    scan.SetSpacing((0.7, 0.8, 2.5))
    scan.SetOrigin((-12.5, 33.0, 101.0))
    scan.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, -0.3).GetMatrix())
    sitk.WriteImage(scan, str(tmp_path / "scan.nrrd"))
    write_labels(tmp_path / "labels.nii.gz", np.ones(SHAPE, int), read_geometry(tmp_path / "scan.nrrd"))
    labels = sitk.ReadImage(str(tmp_path / "labels.nii.gz"))
    assert labels.GetSize() == scan.GetSize()
    for get in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(labels, get)(), getattr(scan, get)(), atol=1e-4)


def test_a_shape_that_is_not_the_source_s(tmp_path: Path) -> None:
    geometry = Geometry(SHAPE, np.eye(4))
    with pytest.raises(DataError, match=r"labels\.nii\.gz: .*\(6, 5, 7\).*\(5, 6, 7\)"):
        write_labels(tmp_path / "labels.nii.gz", np.zeros((6, 5, 7), int), geometry)
    with pytest.raises(DataError, match="shape"):
        write_channels(tmp_path / "maps.nii.gz", np.zeros((2, 6, 5, 7), np.float32), geometry)
    assert not list(tmp_path.iterdir())


def test_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, geometry = tmp_path / "labels.nii.gz", Geometry(SHAPE, np.eye(4))
    write_labels(path, np.ones(SHAPE, int), geometry)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_labels(path, np.zeros(SHAPE, int), geometry)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_labels(tmp_path / name / "labels.nii.gz", np.ones(SHAPE, int), Geometry(SHAPE, np.eye(4)))
    assert (tmp_path / "one" / "labels.nii.gz").read_bytes() == (tmp_path / "two" / "labels.nii.gz").read_bytes()


def test_a_new_image(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    geometry = write_image(tmp_path / "new.nii.gz", array, AFFINES["oblique"])
    volume = read_image([tmp_path / "new.nii.gz"])
    np.testing.assert_array_equal(volume.array[0], array)
    assert geometry.difference(volume.geometry) is None
    assert volume.geometry.difference(Geometry(SHAPE, AFFINES["oblique"])) is None
    assert nibabel.load(tmp_path / "new.nii.gz").header.get_xyzt_units()[0] == "mm"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from transforms.geometry import Geometry
from transforms.io import write_labels

path = Path(sys.argv[1])
write_labels(path, np.ones((4, 4, 4), np.uint8), Geometry((4, 4, 4), np.eye(4)))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
noise = np.random.default_rng(0).integers(0, 255, (64, 64, 64)).astype(np.uint8)
try:
    write_labels(path, noise, Geometry(noise.shape, np.eye(4)))
except OSError as error:
    print(type(error).__name__, [file.name for file in path.parent.iterdir()])
"""


@pytest.mark.parametrize("name", ["labels.nii.gz", "labels.nii"])
def test_a_disk_that_fills_up(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"OSError ['{name}']", done.stderr
    assert read_labels(tmp_path / name).array.shape == (1, 4, 4, 4)  # what stood there before stands
