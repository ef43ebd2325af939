"""The size of a store is told from headers: never less than preprocessing makes of the scans."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets import Case
from swin_unetr.store.scan_file import stored_bytes
from swin_unetr.store.size import most_voxels, store_bytes
from transforms.io import read_image
from transforms.preprocess import preprocess_volume


@pytest.mark.parametrize("tilt", [0.0, 0.4], ids=["upright", "tilted"])
@pytest.mark.parametrize("spacing", [None, (2.0, 2.0, 2.0), (0.7, 0.7, 1.0), (40.0, 40.0, 40.0)])
def test_it_is_that_of_the_uncropped_grid(
    tmp_path: Path, tilt: float, spacing: tuple[float, float, float] | None
) -> None:
    affine = np.diag([-1.0, 1.0, 3.0, 1.0])
    affine[1, 2] = tilt * 3  # the upright grid around a tilted one is larger
    file = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 8, 14), np.int16), affine), file)
    config = PreprocessConfig(spacing_mm=spacing, crop_foreground=False)
    x, y, z = preprocess_volume(read_image((file,)), config).shape[1:]
    case = Case(id="scan", images=(file,))
    assert store_bytes([case], config, workers=1) == stored_bytes(1, (x, y, z))
    assert most_voxels([case], config) == max(x * y * z, 9 * 8 * 14)
