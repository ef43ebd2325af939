"""A scan in memory gets the labels that its file gets, as a label map of its own kind."""

from collections.abc import Callable
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from monai.transforms import LoadImage

import swin_unetr
from swin_unetr.datasets import read_dataset
from swin_unetr.errors import DataError


@pytest.fixture
def model(phantom_data: Path, make_model: Callable[..., Path]) -> Path:
    return make_model("model", read_dataset(phantom_data, require_labels=True).task)


def test_every_kind_of_image_gets_the_labels_of_its_file(model: Path, phantom_data: Path, tmp_path: Path) -> None:
    scan = phantom_data / "imagesTs" / "phantom_007.nii.gz"  # LPS
    report = swin_unetr.predict(model, scan, tmp_path, progress=False, backend="torch", precision="float32")
    assert report.exit_code == 0
    of_file = nibabel.load(tmp_path / scan.name)
    wanted = np.asanyarray(of_file.dataobj)
    assert len(np.unique(wanted)) > 1
    predictor = swin_unetr.Predictor(model, backend="torch", precision="float32")

    of_nibabel = predictor(nibabel.load(scan))
    np.testing.assert_array_equal(np.asanyarray(of_nibabel.dataobj), wanted)
    np.testing.assert_array_equal(of_nibabel.affine, of_file.affine)

    of_simpleitk = predictor(sitk.ReadImage(str(scan)))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(of_simpleitk).T, wanted)

    of_itk = predictor(itk.image_from_array(sitk.GetArrayFromImage(sitk.ReadImage(str(scan)))))
    assert of_itk.GetLargestPossibleRegion().GetSize() == wanted.shape

    of_monai = predictor(LoadImage(ensure_channel_first=True, image_only=True)(scan))
    np.testing.assert_array_equal(of_monai[0].numpy(), wanted)

    labels, _ = swin_unetr.segment(
        (np.asanyarray(nibabel.load(scan).dataobj), of_file.affine), model, backend="torch", precision="float32"
    )
    np.testing.assert_array_equal(labels, wanted)


def test_channels_that_the_model_does_not_have(model: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((32, 32, 24, 2), np.int16), np.eye(4))
    with pytest.raises(DataError, match="2 channels where the model"):
        swin_unetr.segment(image, model, backend="torch")
