"""Reading images: what comes in, and every way in which a file can be wrong."""

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses
from numpy.typing import NDArray

from swin_unetr.errors import DataError, GeometryError
from transforms.io import read_geometry, read_image, read_labels

SHAPE = (5, 6, 7)
AFFINE = np.array([[-1.5, 0.1, 0, 30], [0.1, 1.5, 0.2, -20], [0, -0.2, 2.5, 7], [0, 0, 0, 1.0]])


def voxels(shape: tuple[int, ...] = SHAPE, dtype: Any = np.int16) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write an array as NIfTI with nibabel alone."""

    def write(name: str, array: NDArray[Any], affine: NDArray[np.float64] = AFFINE, kind: Any = None) -> Path:
        path = tmp_path / name
        nibabel.save((kind or nibabel.Nifti1Image)(array, affine), path)
        return path

    return write


def said(error: pytest.ExceptionInfo[BaseException], path: Path) -> str:
    """The message, after a look at what all of them must be: one line that begins with the path."""
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert getattr(error.value, "exit_code", None) == 1
    return message


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii", "scan.hdr", "SCAN.NII.GZ", "scan.two.dots.nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_of_either_version_and_as_pair(tmp_path: Path, name: str, kind: Any) -> None:
    if name.endswith(".hdr"):
        kind = {nibabel.Nifti1Image: nibabel.Nifti1Pair, nibabel.Nifti2Image: nibabel.Nifti2Pair}[kind]
    array = voxels()
    # nibabel writes no upper-case names as compressed files: written under another and renamed.
    nibabel.save(kind(array, AFFINE), tmp_path / name.lower())
    path = (tmp_path / name.lower()).rename(tmp_path / name)
    volume = read_image([path])
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array[None])
    np.testing.assert_allclose(volume.geometry.affine, AFFINE, atol=1e-5)
    assert volume.geometry.shape == read_geometry(path).shape == SHAPE
    np.testing.assert_array_equal(read_geometry(path).affine, volume.geometry.affine)
    np.testing.assert_array_equal(read_labels(path).array[0], array)


def test_the_data_file_of_a_pair_stands_for_both(save: Callable[..., Path]) -> None:
    path = save("pair.hdr", voxels(), kind=nibabel.Nifti1Pair)
    np.testing.assert_array_equal(read_image([path.with_suffix(".img")]).array[0], voxels())
    path.with_suffix(".img").unlink()
    with pytest.raises(DataError) as error:
        read_image([path])
    said(error, path)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.header.set_slope_inter(2, -1024)
    nibabel.save(image, tmp_path / "ct.nii")
    np.testing.assert_array_equal(read_image([tmp_path / "ct.nii"]).array[0], 2.0 * voxels() - 1024)


def test_channels_come_first(save: Callable[..., Path]) -> None:
    four = voxels((*SHAPE, 3), np.float32)
    path = save("four.nii.gz", four)
    np.testing.assert_array_equal(read_image([path], channels=3).array, np.moveaxis(four, -1, 0))
    files = [save(f"{index}.nii.gz", four[..., index]) for index in range(3)]
    np.testing.assert_array_equal(read_image(files, channels=3).array, np.moveaxis(four, -1, 0))
    single = save("single.nii.gz", four[..., :1])
    assert read_image([single], channels=1).array.shape == (1, *SHAPE)
    five = save("five.nii.gz", four[..., :1, None])
    assert read_image([five], channels=1).array.shape == (1, *SHAPE)


def test_a_slice_is_a_scan_of_one_slice_and_a_picture_is_none(save: Callable[..., Path]) -> None:
    assert read_image([save("slice.nii", voxels((5, 6, 1)))]).array.shape == (1, 5, 6, 1)
    path = save("flat.nii", voxels((5, 6)))
    for read in (lambda path: read_image([path]), read_labels, read_geometry):
        with pytest.raises(DataError, match="is a picture of 5 x 6 pixels") as error:
            read(path)
        said(error, path)


def test_wrong_numbers_of_channels(save: Callable[..., Path]) -> None:
    one, four = save("one.nii.gz", voxels()), save("four.nii.gz", voxels((*SHAPE, 2)))
    for paths, channels, words in (
        ([four], 1, "is 4-D with 2 channels where a 3-D scan is wanted"),
        ([four], 4, "has 2 channel"),
        ([one], 4, "has 1 channel"),
        ([one, one], 3, "2 channel|2 files"),
    ):
        with pytest.raises(DataError, match=words) as error:
            read_image(paths, channels=channels)
        said(error, paths[0])
    with pytest.raises(DataError, match="is 4-D where one 3-D file per channel is wanted") as error:
        read_image([one, four])
    said(error, four)
    with pytest.raises(DataError, match="without files"):
        read_image([])


def test_channels_on_different_grids(save: Callable[..., Path]) -> None:
    one, moved, cut = save("one.nii", voxels()), AFFINE.copy(), save("cut.nii", voxels()[1:])
    moved[0, 3] += 1
    for other in (save("moved.nii", voxels(), moved), cut):
        with pytest.raises(GeometryError, match=re.escape(str(one))) as error:
            read_image([one, other])
        said(error, other)


@pytest.mark.parametrize("name", ["none.nii.gz", "none.nii", "none.nrrd", "none"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    for read in (lambda path: read_image([path]), read_labels, read_geometry):
        with pytest.raises(DataError, match="no such file") as error:
            read(tmp_path / name)
        said(error, tmp_path / name)


@pytest.mark.parametrize("name", ["cut.nii.gz", "cut.nii", "cut.NII.GZ", "cut.nrrd", "cut.mha"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    array = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    path = tmp_path / name
    if name.lower().endswith((".nii", ".gz")):
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / name.lower())
        (tmp_path / name.lower()).rename(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for read in (lambda path: read_image([path]), read_labels):
        with pytest.raises(DataError) as error:
            read(path)
        said(error, path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x1f\x8bnonsense" * 100, bytes(1000)])
@pytest.mark.parametrize("name", ["bad.nii.gz", "bad.nii", "bad.nrrd", "bad.mha", "bad.txt"])
def test_what_is_no_image(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_image([path])
    said(error, path)


def test_damaged_within(tmp_path: Path, save: Callable[..., Path]) -> None:
    path = save("damaged.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_image([path])
    said(error, path)


def test_the_content_decides_whether_a_file_is_compressed(save: Callable[..., Path]) -> None:
    plain, packed = save("plain.nii", voxels()), save("packed.nii.gz", voxels())
    for path, words in (
        (plain.rename(plain.with_name("named.nii.gz")), "is not compressed, although its name ends in .gz"),
        (packed.rename(packed.with_name("unnamed.nii")), "is compressed, although its name does not end in .gz"),
    ):
        volume = read_image([path])
        np.testing.assert_array_equal(volume.array[0], voxels())
        assert [(note.code, note.words) for note in volume.notes] == [("misnamed", words)]


def test_a_folder_where_a_file_is_wanted(tmp_path: Path) -> None:
    for name in ("folder.nii.gz", "folder"):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError) as error:
            read_image([tmp_path / name])
        said(error, tmp_path / name)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(save: Callable[..., Path], bad: float) -> None:
    array = voxels(dtype=np.float32)
    array[1, 2, 3] = array[0, 0, 0] = bad
    good, path = save("good.nii.gz", voxels()), save("bad.nii.gz", array)
    with pytest.raises(DataError, match="2 NaN or infinite voxels") as error:
        read_image([good, path])
    said(error, path)
    four = save("four.nii.gz", np.stack([voxels(), array], -1))
    with pytest.raises(DataError, match="2 NaN or infinite voxels") as error:
        read_image([four])
    said(error, four)
    with pytest.raises(DataError, match="NaN or infinite") as error:
        read_labels(path)
    said(error, path)


def test_numbers_that_float32_cannot_hold_and_kinds_that_are_no_intensities(save: Callable[..., Path]) -> None:
    huge = save("huge.nii", np.full(SHAPE, 1e300))
    complex_numbers = save("complex.nii", np.full(SHAPE, 1 + 2j, np.complex64))
    colours = save("rgb.nii", np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for path in (huge, complex_numbers, colours):
        with pytest.raises(DataError) as error:
            read_image([path])
        said(error, path)


def test_labels_are_whole_numbers_from_0(save: Callable[..., Path]) -> None:
    as_float = save("float.nii.gz", voxels(dtype=np.float64))
    assert read_labels(as_float).array.dtype == np.uint8
    np.testing.assert_array_equal(read_labels(as_float).array[0], voxels())
    assert read_labels(save("wide.nii.gz", voxels() + np.int16(300))).array.dtype == np.uint16
    assert read_labels(save("long.nii.gz", voxels().astype(np.int32) + 70_000)).array.dtype == np.uint32
    half, negative = voxels(dtype=np.float32), voxels()
    half[0, 0, 0] = 1.5
    negative[0, 0, 0] = -3
    for path, words in (
        (save("half.nii.gz", half), "no whole numbers"),
        (save("negative.nii.gz", negative), r"negative label values \(-3\)"),
        (save("huge.nii.gz", np.full(SHAPE, 1e30)), r"up to 1e\+30; it is no label map"),
        (save("four.nii.gz", voxels((*SHAPE, 2))), "is 4-D with 2 channels where a 3-D label map is wanted"),
        (save("complex.nii.gz", np.full(SHAPE, 1 + 2j, np.complex64)), "numbers"),
    ):
        with pytest.raises(DataError, match=words) as error:
            read_labels(path)
        said(error, path)


@pytest.mark.parametrize("name", ["claims.nii", "claims.nii.gz"])
def test_a_header_that_claims_more_than_the_file_holds(tmp_path: Path, name: str) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.float64)
    header["magic"], header["vox_offset"] = b"n+1", 352
    content = header.binaryblock + bytes(4 + 1000)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(DataError, match="claims 216000000000000 bytes") as error:
        read_image([path])
    said(error, path)


@pytest.mark.parametrize("shape", [(0, 5, 5), (-3, 5, 5)])
def test_shapes_that_cannot_be(tmp_path: Path, save: Callable[..., Path], shape: tuple[int, int, int]) -> None:
    path = save("odd.nii", voxels())
    content = bytearray(path.read_bytes())
    content[42:48] = np.array(shape, np.int16).tobytes()
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_image([path])
    said(error, path)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_an_affine_that_is_no_grid(tmp_path: Path, bad: float) -> None:
    image = nibabel.Nifti1Image(voxels(), np.eye(4))
    image.header["srow_x"], image.header["sform_code"], image.header["qform_code"] = bad, 1, 0
    path = tmp_path / "no_grid.nii"
    nibabel.save(nibabel.Nifti1Image(voxels(), None, image.header), path)
    for read in (lambda path: read_image([path]), read_labels, read_geometry):
        with pytest.raises(DataError, match="affine") as error:
            read(path)
        said(error, path)


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.mha", "scan.mhd", "SCAN.NRRD"])
def test_other_formats_lie_where_simpleitk_says(tmp_path: Path, name: str) -> None:
    array = voxels()
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.5, 33.0, 101.0))
    image.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, -0.3).GetMatrix())
    sitk.WriteImage(image, str(tmp_path / name.lower()))
    path = (tmp_path / name.lower()).rename(tmp_path / name)
    volume = read_image([path])
    np.testing.assert_array_equal(volume.array[0], array)
    for voxel in ((0, 0, 0), (4, 0, 0), (0, 5, 0), (0, 0, 6), (3, 2, 5)):
        left_posterior_superior = np.array(image.TransformIndexToPhysicalPoint(voxel))
        here = volume.geometry.affine @ (*voxel, 1)
        np.testing.assert_allclose(here[:3], left_posterior_superior * (-1, -1, 1), atol=1e-6)
    assert read_geometry(path).difference(volume.geometry) is None
    np.testing.assert_array_equal(read_labels(path).array[0], array)


@pytest.mark.parametrize("outside", ["../secret.raw", "/etc/hostname"])
def test_a_header_may_not_take_its_voxels_from_elsewhere(tmp_path: Path, outside: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(1000))
    image = sitk.GetImageFromArray(np.zeros((5, 5, 5), np.uint8))
    for name, raw in (("scan.mhd", "scan.raw"), ("scan.nhdr", "scan.raw.gz")):
        path = tmp_path / "data" / name
        sitk.WriteImage(image, str(path))
        assert read_labels(path).array.shape == (1, 5, 5, 5)
        path.write_text(path.read_text().replace(raw, outside).replace("scan.raw", outside))
        with pytest.raises(DataError, match="outside the folder") as error:
            read_labels(path)
        said(error, path)


def test_other_formats_with_channels_or_without_depth(tmp_path: Path) -> None:
    array = voxels((*SHAPE, 2), np.float32)
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0, 3), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "two.nrrd"))
    np.testing.assert_array_equal(read_image([tmp_path / "two.nrrd"], channels=2).array, np.moveaxis(array, -1, 0))
    sitk.WriteImage(sitk.GetImageFromArray(array[..., 0, 0]), str(tmp_path / "flat.nrrd"))
    with pytest.raises(DataError, match="2 dimensions") as error:
        read_image([tmp_path / "flat.nrrd"])
    said(error, tmp_path / "flat.nrrd")


def test_a_dicom_series(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "ct" / "dicom_series"
    volume = read_image([source], channels=1)
    assert volume.array.shape == (1, 512, 512, 20)
    assert volume.array.min() < -900  # Hounsfield units, not stored values
    assert volume.geometry.orientation == "LPS"
    # One file per slice, by its own header: the reader's order and spacing are not taken on trust.
    for file in source.iterdir():
        image = sitk.ReadImage(str(file))
        corner = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0))) * (-1, -1, 1)
        index = np.linalg.solve(volume.geometry.affine, (*corner, 1))[:3]
        np.testing.assert_allclose(index, (0, 0, round(index[2])), atol=1e-3)
        np.testing.assert_array_equal(
            volume.array[0, :, :, round(index[2])], sitk.GetArrayFromImage(image)[0].T.astype(np.float32)
        )


def test_a_dicom_series_with_a_hole(test_data: Path, tmp_path: Path) -> None:
    files = sorted((test_data / "ct" / "dicom_series").iterdir())
    for file in files[:4] + files[6:9]:
        shutil.copy(file, tmp_path / file.name)
    with pytest.raises(DataError, match="slices") as error:
        read_image([tmp_path])
    said(error, tmp_path)


def test_size_is_judged_by_what_deflate_can_do_whatever_the_case_of_the_name(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((64, 64, 64), np.uint8), AFFINE), tmp_path / "zeros.nii.gz")
    path = (tmp_path / "zeros.nii.gz").rename(tmp_path / "ZEROS.NII.GZ")
    assert read_labels(path).array.shape == (1, 64, 64, 64)


def test_a_checksum_that_does_not_fit(save: Callable[..., Path]) -> None:
    path = save("flipped.nii.gz", np.zeros((32, 32, 32), np.uint8))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum itself: every voxel can still be read
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"truncated or damaged .*CRC") as error:
        read_labels(path)
    said(error, path)


@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.mha"])
@pytest.mark.parametrize("read", [read_geometry, read_labels, lambda path: read_image([path])])
def test_where_nobody_may_look_is_told(tmp_path: Path, read: Callable[[Path], Any], name: str) -> None:
    """A name that is too long is refused as a folder without permission is, also to root, who runs CI."""
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\); check your permissions"):
        read(tmp_path / ("x" * 300) / name)
