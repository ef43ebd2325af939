"""Images of other libraries: the voxels and the grid are those that each library itself gives."""

import itk
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data import MetaTensor

from swin_unetr.errors import DataError
from transforms.io_memory import from_memory

ANGLE = np.deg2rad(20)
DIRECTION = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
SPACING, ORIGIN = np.array([0.7, 1.1, 3.0]), np.array([-12.5, 30.0, 4.0])
#: Points of the grid whose places are compared.
POINTS = [(0, 0, 0), (4, 2, 1), (1, 3, 2)]


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (5, 4, 3)).astype(np.int16)


def lps(affine: np.ndarray, point: tuple[int, int, int]) -> np.ndarray:
    """Where a voxel lies in ITK's millimetres."""
    return (affine @ [*point, 1])[:3] * [-1, -1, 1]


def test_simpleitk(array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetDirection(DIRECTION.ravel())
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    taken = from_memory(image)
    np.testing.assert_array_equal(taken.volume.array[0], array)
    for point in POINTS:
        there = image.TransformIndexToPhysicalPoint(point)
        np.testing.assert_allclose(lps(taken.volume.geometry.affine, point), there, atol=1e-9)
    labels = taken.labels_like((array > 0).astype(np.uint8))
    assert isinstance(labels, sitk.Image)
    assert labels.GetDirection() == image.GetDirection()
    assert labels.GetOrigin() == image.GetOrigin()
    assert labels.GetSpacing() == image.GetSpacing()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), (array > 0).transpose(2, 1, 0))


def test_components_of_simpleitk_are_channels(array: np.ndarray) -> None:
    image = sitk.Compose(*(sitk.GetImageFromArray(part.transpose(2, 1, 0)) for part in (array, -array)))
    taken = from_memory(image)
    np.testing.assert_array_equal(taken.volume.array, [array, -array])


def test_itk(array: np.ndarray) -> None:
    image = itk.image_from_array(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetDirection(itk.matrix_from_array(DIRECTION))
    image.SetSpacing(SPACING.tolist())
    image.SetOrigin(ORIGIN.tolist())
    taken = from_memory(image)
    np.testing.assert_array_equal(taken.volume.array[0], array)
    for point in POINTS:
        there = image.TransformIndexToPhysicalPoint(list(point))
        np.testing.assert_allclose(lps(taken.volume.geometry.affine, point), list(there), atol=1e-9)
    labels = taken.labels_like((array > 0).astype(np.uint8))
    np.testing.assert_array_equal(itk.array_from_image(labels), (array > 0).transpose(2, 1, 0))
    np.testing.assert_array_equal(itk.array_from_matrix(labels.GetDirection()), DIRECTION)
    np.testing.assert_array_equal(labels.GetOrigin(), ORIGIN)


def test_components_of_itk_are_channels(array: np.ndarray) -> None:
    stacked = np.ascontiguousarray(np.stack([array, -array]).transpose(3, 2, 1, 0).astype(np.float32))
    taken = from_memory(itk.image_from_array(stacked, is_vector=True))
    np.testing.assert_array_equal(taken.volume.array, [array, -array])


def test_nibabel(array: np.ndarray) -> None:
    affine = np.eye(4)
    affine[:3, :3] = DIRECTION * SPACING
    affine[:3, 3] = ORIGIN
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 2)
    image.set_sform(affine, 1)
    taken = from_memory(image)
    np.testing.assert_array_equal(taken.volume.array[0], array)
    np.testing.assert_array_equal(taken.volume.geometry.affine, image.affine)
    labels = taken.labels_like((array > 0).astype(np.uint8))
    np.testing.assert_array_equal(np.asanyarray(labels.dataobj), array > 0)
    np.testing.assert_array_equal(labels.affine, image.affine)
    assert labels.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "xyzt_units", "pixdim", "srow_x"):
        np.testing.assert_array_equal(labels.header[field], image.header[field])


def test_the_fourth_axis_of_nibabel_are_channels(array: np.ndarray) -> None:
    taken = from_memory(nibabel.Nifti1Image(np.stack([array, -array], axis=-1), np.eye(4)))
    np.testing.assert_array_equal(taken.volume.array, [array, -array])


@pytest.mark.parametrize("channels", [(), (2,)])
def test_metatensor(array: np.ndarray, channels: tuple[int, ...]) -> None:
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, 3] = torch.from_numpy(ORIGIN)
    values = np.broadcast_to(array, (*channels, *array.shape)).copy()
    image = MetaTensor(torch.from_numpy(values), affine=affine, meta={"filename_or_obj": "a.nii.gz"})
    taken = from_memory(image)
    assert taken.volume.array.shape == (channels[0] if channels else 1, *array.shape)
    labels = taken.labels_like((array > 0).astype(np.uint8))
    assert isinstance(labels, MetaTensor)
    assert labels.shape == ((1, *array.shape) if channels else array.shape)
    assert torch.equal(labels.affine, image.affine)
    assert labels.meta["filename_or_obj"] == "a.nii.gz"


def test_an_array_with_its_affine(array: np.ndarray) -> None:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    taken = from_memory((array, affine))
    assert taken.volume.geometry.spacing_mm == (2, 2, 5)
    labels, same = taken.labels_like(array > 0)
    assert labels.shape == array.shape
    np.testing.assert_array_equal(same, affine)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((2, 2, 2)), "give a nibabel, SimpleITK or itk image"),
        ("scan.nii.gz", "give a nibabel"),
        ((np.zeros((2, 2)), np.eye(4)), "shape \\(2, 2\\)"),
        ((np.zeros((2, 2, 2), complex), np.eye(4)), "complex128"),
        ((np.zeros((2, 2, 2)), np.zeros((4, 4))), "affine"),
        (sitk.Image([3, 3], sitk.sitkInt16), "2 dimensions"),
        (nibabel.Nifti1Image(np.zeros((2, 2), np.int16), np.eye(4)), "shape \\(2, 2\\)"),
    ],
)
def test_anything_else_is_refused_in_words(image: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_memory(image)
