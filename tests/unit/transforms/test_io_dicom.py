"""DICOM series written here slice by slice: order, values, tilt, and every way in which a folder is no series."""

import locale
import resource
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from swin_unetr.datasets import read_dataset
from swin_unetr.errors import DataError
from transforms.io import dicom_problems, read_file, read_geometry, read_header, read_labels

SPACING_MM = (0.7, 0.8, 2.5)
TILT = 0.2  # of the gantry: each mm upwards goes so many mm to the back


def write_slice(path: Path, pixels: np.ndarray[Any, Any], position: Sequence[float], **tags: str) -> Path:
    """One file (X x Y pixels), with the tags of a CT; keywords like t0008_0008 override them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(pixels.T[None])
    image.SetSpacing(SPACING_MM)
    values = {
        "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
        "0008|0060": "CT",
        "0008|0018": f"1.2.3.{abs(hash(str(path))) % 10**9}",
        "0020|000d": "1.2.4",
        "0020|000e": "1.2.5.6",
        "0020|0032": "\\".join(f"{value:.6f}" for value in position),
        "0020|0037": "1\\0\\0\\0\\1\\0",
        "0028|1052": "-1024",
        "0028|1053": "1",
        **{key[1:].replace("_", "|"): value for key, value in tags.items()},
    }
    for key, value in values.items():
        image.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path.with_suffix(".dcm")))
    before = locale.setlocale(locale.LC_ALL)
    writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # GDCM's writer leaves "C" behind: text files would be ASCII from then on
    return path.with_suffix(".dcm")


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., tuple[Path, np.ndarray[Any, Any]]]:
    """Write slices at some heights (mm) in a shuffled order of names; gives the folder and the voxels."""

    def write(heights: Sequence[float], tilt: float = 0.0, **tags: str) -> tuple[Path, np.ndarray[Any, Any]]:
        rng = np.random.default_rng(3)
        voxels = rng.integers(-1000, 1000, (5, 6, len(heights)), np.int16)
        names = rng.permutation(len(heights))
        for index, height in enumerate(heights):
            position = (-10.0, 20.0 + tilt * height, height)
            write_slice(tmp_path / "ct" / f"s{names[index]}", voxels[:, :, index], position, **tags)
        return tmp_path / "ct", voxels

    return write


def even(number: int) -> list[float]:
    return [100 + SPACING_MM[2] * index for index in range(number)]


def name_at(folder: Path, height: float) -> str:
    """The file of the slice at a height."""
    for path in folder.iterdir():
        if abs(sitk.ReadImage(str(path)).GetOrigin()[2] - height) < 1e-3:
            return path.name
    raise AssertionError(f"no slice at {height}")


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        read_file(folder)
    message = str(error.value)
    assert message.startswith(f"{folder}: ")
    assert "\n" not in message
    with pytest.raises(DataError):
        read_header([folder])
    assert {path.name for path, _ in dicom_problems(folder)} <= {path.name for path in folder.iterdir()}
    return message


def test_slices_are_sorted_by_their_place(series: Callable[..., Any]) -> None:
    folder, voxels = series(even(7))
    volume = read_file(folder)
    assert dicom_problems(folder) == ()
    np.testing.assert_array_equal(volume.array[0], voxels)
    affine = [[-0.7, 0, 0, 10], [0, -0.8, 0, -20], [0, 0, 2.5, 100], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.geometry.affine, affine, atol=1e-9)
    geometry, channels, dtype = read_header([folder])
    assert (geometry.shape, channels, dtype) == ((5, 6, 7), 1, volume.array.dtype)
    assert read_geometry(folder).difference(volume.geometry, 0) is None


def test_the_tilt_of_the_gantry_stays_in_the_affine(series: Callable[..., Any]) -> None:
    folder, voxels = series(even(4), tilt=TILT)
    volume = read_file(folder)
    np.testing.assert_array_equal(volume.array[0], voxels)
    for index, height in enumerate(even(4)):  # the corner of every slice, in RAS
        corner = (10, -(20 + TILT * height), height, 1)
        np.testing.assert_allclose(volume.geometry.affine @ (0, 0, index, 1), corner, atol=1e-6)


def test_a_single_slice_is_as_thick_as_it_says(series: Callable[..., Any]) -> None:
    folder, voxels = series(even(1), t0018_0050="2.5")
    volume = read_file(folder)
    np.testing.assert_array_equal(volume.array[0], voxels)
    assert volume.geometry.spacing_mm == pytest.approx(SPACING_MM)


def test_every_slice_has_its_own_slope_and_intercept(tmp_path: Path) -> None:
    stored = np.arange(30, dtype=np.int16).reshape(5, 6)
    for index, (slope, intercept) in enumerate([(1, -1024), (5, 3), (2, 0)]):
        tags = {"t0028_1052": f"{intercept}", "t0028_1053": f"{slope}"}
        path = write_slice(tmp_path / "pet" / f"s{index}", stored * slope + intercept, (0, 0, index), **tags)
        content = path.read_bytes()
        assert np.array_equal(np.frombuffer(content[-60:], np.int16).reshape(6, 5).T, stored)
        path.write_bytes(content.replace(b"\x28\0\x53\x10\x02\0\0\x005 ", b"\x28\0\x53\x10\x02\0\0\0.5"))
    volume = read_file(tmp_path / "pet")
    for index, (slope, intercept) in enumerate([(1, -1024), (0.5, 3), (2, 0)]):
        np.testing.assert_array_equal(volume.array[0, :, :, index], stored * slope + intercept)


def test_a_missing_slice_is_named_by_its_neighbours(series: Callable[..., Any]) -> None:
    folder, _ = series([*even(23)[:9], *even(23)[10:]])
    before, after = name_at(folder, even(23)[8]), name_at(folder, even(23)[10])
    message = refused(folder)
    assert f"{after} lies 5 mm from {before}, others 2.5 mm: 1 missing" in message
    # What SimpleITK makes of it, with no more than a warning: 22 slices over the length of 23.
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    assert sitk.ReadImage(names).GetSpacing()[2] == pytest.approx(2.5 * 22 / 21, abs=1e-3)


def test_a_doubled_slice(series: Callable[..., Any]) -> None:
    folder, _ = series(even(5))
    one = name_at(folder, even(5)[2])
    shutil.copy(folder / one, folder / "zz_again.dcm")
    assert f"zz_again.dcm lies where {one} does" in refused(folder)


def test_uneven_spacing(series: Callable[..., Any]) -> None:
    folder, _ = series([0, 2.5, 5, 8.4, 10.9, 13.4])
    assert f"{name_at(folder, 8.4)} lies 3.4 mm from {name_at(folder, 5)}, others 2.5 mm: spacing is uneven" in refused(
        folder
    )


def test_positions_that_are_rounded_are_even(series: Callable[..., Any]) -> None:
    folder, _ = series([round(0.625 * index, 1) for index in range(9)])
    assert dicom_problems(folder) == ()
    assert read_geometry(folder).spacing_mm[2] == pytest.approx(0.625)


def test_a_slice_that_is_shifted_sideways(series: Callable[..., Any], tmp_path: Path) -> None:
    folder, _ = series(even(5))
    write_slice(folder / "moved", np.zeros((5, 6), np.int16), (-7, 20, even(6)[5]))
    assert "moved.dcm is shifted sideways by 3 mm" in refused(folder)


@pytest.mark.parametrize(
    "tags",
    [
        {"t0008_0008": "ORIGINAL\\PRIMARY\\LOCALIZER"},
        {"t0008_0008": "ORIGINAL\\PRIMARY\\LOCALIZER", "t0020_000e": "1.2.9", "t0020_0037": "1\\0\\0\\0\\0\\-1"},
    ],
)
def test_a_localiser_among_the_slices(series: Callable[..., Any], tags: dict[str, str]) -> None:
    folder, _ = series(even(5))
    write_slice(folder / "scout", np.zeros((9, 6), np.int16), (0, 0, 0), **tags)
    assert dicom_problems(folder) == ((folder / "scout.dcm", "is a localiser: move it out"),)
    assert "scout.dcm is a localiser" in refused(folder)


@pytest.mark.parametrize(
    ("shape", "tags"),
    [((5, 6), {"t0020_0037": "1\\0\\0\\0\\0\\-1"}), ((7, 6), {}), ((5, 6), {"t0020_0037": "0\\1\\0\\1\\0\\0"})],
)
def test_a_picture_of_another_kind_in_the_series(
    series: Callable[..., Any], shape: tuple[int, int], tags: dict[str, str]
) -> None:
    folder, _ = series(even(5))
    write_slice(folder / "other", np.zeros(shape, np.int16), (-10, 20, 150), **tags)
    assert "other.dcm has another orientation, size or pixel spacing" in refused(folder)


def test_two_series_in_one_folder(series: Callable[..., Any]) -> None:
    folder, _ = series(even(5))
    for index in range(2):
        write_slice(folder / f"b{index}", np.zeros((5, 6), np.int16), (-10, 20, index), t0020_000e="1.2.5.7")
    message = refused(folder)
    assert "b0.dcm is of another series (1.2.5.7) than 5 files here" in message
    assert "b1.dcm is of another series" in message


def test_a_damaged_file_and_files_that_are_no_dicom(series: Callable[..., Any]) -> None:
    folder, voxels = series(even(5))
    (folder / "notes.txt").write_text("of the ward")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (folder / "._s1.dcm").write_bytes(b"macOS")
    np.testing.assert_array_equal(read_file(folder).array[0], voxels)
    (folder / "bad.dcm").write_bytes(bytes(128) + b"DICM" + bytes(10))
    assert "bad.dcm cannot be read" in refused(folder)


def test_a_truncated_slice(series: Callable[..., Any]) -> None:
    folder, _ = series(even(3))
    path = folder / name_at(folder, even(3)[1])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=path.name):
        read_file(folder)


@pytest.mark.parametrize(("rows", "frames"), [(65535, None), (65535, 20000), (65535, -5), (6, 10**9)])
def test_a_header_that_claims_gigabytes_takes_no_memory(
    series: Callable[..., Any], rows: int, frames: int | None
) -> None:
    folder, _ = series(even(1))
    path = next(folder.iterdir())
    written = path.read_bytes()
    for tag in (b"\x28\0\x11\0", b"\x28\0\x10\0"):  # Columns, Rows: tag, length, value
        at = written.index(tag + b"\2\0\0\0")
        written = written[: at + 8] + rows.to_bytes(2, "little") + written[at + 10 :]
    if frames is not None:
        number = str(frames).encode()
        number += b" " * (len(number) % 2)
        written = written[:at] + b"\x28\0\x08\0" + len(number).to_bytes(4, "little") + number + written[at:]
    path.write_bytes(written)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"ct: its header claims \d+ bytes of voxels, its files hold \d+"):
        read_file(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    assert "holds no DICOM file" in dicom_problems(tmp_path)[0][1]
    with pytest.raises(DataError, match="holds no DICOM file"):
        read_file(tmp_path)


def test_many_problems_are_counted(series: Callable[..., Any]) -> None:
    folder, _ = series(even(12))
    for path in list(folder.iterdir()):
        shutil.copy(path, folder / f"z_{path.name}")
    assert "and 4 more" in refused(folder)
    assert len(dicom_problems(folder)) == 12


def test_series_are_cases_of_a_plain_folder(series: Callable[..., Any], tmp_path: Path) -> None:
    folder, _ = series(even(3))
    shutil.copytree(folder, tmp_path / "data" / "images" / "p1")
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 6, 5), np.uint8)), str(tmp_path / "p1.nrrd"))
    (tmp_path / "data" / "labels").mkdir()
    (tmp_path / "p1.nrrd").rename(tmp_path / "data" / "labels" / "p1.nrrd")
    case = read_dataset(tmp_path / "data", require_labels=True).cases[0]
    assert (case.id, case.images) == ("p1", (tmp_path / "data" / "images" / "p1",))
    assert case.label is not None
    assert read_labels(case.label).geometry.shape == read_geometry(case.images[0]).shape
    for root, ids in ((folder, ["ct"]), (tmp_path / "data" / "images", ["p1"])):
        assert [case.id for case in read_dataset(root, require_labels=False).cases] == ids
