"""A scan as DICOM, of slices or of frames, and a label map on its grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dicom_files import enhanced, save, write_plane
from numpy.typing import NDArray

from swin_unetr.tasks import Task, exclusive

SHAPE = (24, 20, 7)
TASK = Task(
    name="organs", modality="CT", channels=("CT",), targets=exclusive(("liver", "left kidney", "thing", "spleen"))
)


def phantom() -> NDArray[np.uint8]:
    """A liver with two holes and in several parts, a kidney of voxels that touch at corners, a thing; no spleen."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:16, 3:17, 1:6] = 1
    labels[4:7, 5:8, 1:5] = 0
    labels[10:13, 9:14, 2:6] = 0
    labels[11, 11, 3] = 1  # an island in a hole
    labels[18:22, 2:6, 2:4] = 1
    labels[18, 10, 3] = labels[19, 11, 3] = labels[20, 10, 3] = 2
    labels[0, 0, 0] = labels[23, 19, 6] = 3
    return labels


def write_series(folder: Path, *, tilt: float = 0.6, **attributes: object) -> Path:
    turned = np.deg2rad(10)
    rows, columns = (np.cos(turned), np.sin(turned), 0), (-np.sin(turned), np.cos(turned), 0)
    rng = np.random.default_rng(0)
    for index in range(SHAPE[2]):
        write_plane(
            folder / f"{SHAPE[2] - index}.dcm",
            rng.integers(0, 2000, SHAPE[:2]).astype(np.int16),
            [-30.5, round(20.25 + tilt * index, 3), -100 + 2.5 * index],
            orientation=[float(f"{value:.9f}") for value in (*rows, *columns)],
            SliceThickness="2.5",
            **attributes,
        )
    return folder


def write_frames(path: Path) -> Path:
    """An Enhanced MR whose frames are stored in another order than they lie."""
    order = [3, 0, 6, 1, 5, 2, 4]
    values = np.random.default_rng(1).integers(0, 2000, (SHAPE[2], *SHAPE[:2])).astype(np.int16)
    made = enhanced(values, [(5, -7, 3.0 * place) for place in order])
    return save(made, path)
