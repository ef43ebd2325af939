"""Small scans for the tests of the transforms, written with nibabel alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from swin_unetr.datasets.case import Case


def _grid(axes: list[list[float]], spacing: tuple[float, float, float], degrees: float, shear: float) -> Any:
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (degrees, -degrees, degrees), degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.array(axes, float) @ np.diag(spacing)
    affine[1, 2] += shear
    affine[:3, 3] = (-31.3, 55.1, 203.7)
    return affine


#: Grids of scanners: name to affine.
GRIDS: dict[str, NDArray[np.float64]] = {
    "RAS": _grid([[1, 0, 0], [0, 1, 0], [0, 0, 1]], (1, 1, 1), 0, 0),
    "LPS, anisotropic": _grid([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], (0.8, 0.9, 3), 0, 0),
    "PIR": _grid([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], (1.2, 0.8, 1), 0, 0),
    "oblique": _grid([[-1, 0, 0], [0, 1, 0], [0, 0, -1]], (1, 1.1, 2), 12, 0),
    "sheared": _grid([[1, 0, 0], [0, -1, 0], [0, 0, 1]], (0.9, 0.9, 2.5), 0, 0.7),
}


@pytest.fixture(params=GRIDS)
def grid(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    """Affine of a scanner's grid, each in turn."""
    return GRIDS[request.param]


@pytest.fixture
def make_case(tmp_path: Path) -> Callable[..., Case]:
    """Write a scan (X x Y x Z, or channels in front) and its labels, a file per channel."""

    def make(
        image: NDArray[Any],
        labels: NDArray[Any] | None = None,
        affine: NDArray[np.float64] = GRIDS["RAS"],
        label_affine: NDArray[np.float64] | None = None,
    ) -> Case:
        channels = image if image.ndim == 4 else image[None]
        paths = tuple(tmp_path / f"image{index}.nii" for index in range(len(channels)))
        for path, channel in zip(paths, channels, strict=True):
            nibabel.save(nibabel.Nifti1Image(channel, affine), path)
        label = None
        if labels is not None:
            label = tmp_path / "label.nii"
            nibabel.save(nibabel.Nifti1Image(labels, affine if label_affine is None else label_affine), label)
        return Case(id="case", images=paths, label=label)

    return make
