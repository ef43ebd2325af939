"""Headers with a few bytes changed: read, or refused in one line; what is read can be written on its own grid."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from swin_unetr.errors import DataError
from transforms.io import read_geometry, read_image, write_labels


@pytest.fixture
def intact(tmp_path: Path) -> bytes:
    path = tmp_path / "intact.nii"
    voxels = np.random.default_rng(0).integers(0, 9, (6, 7, 8)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.5, 1, 2, 1])), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("offset", "change"),
    [
        (70, b"\xff\x00"),  # data type that does not exist
        (108, np.float32(-1e30).tobytes()),  # where the voxels begin
        (108, np.float32(np.inf).tobytes()),
        (108, np.float32(np.nan).tobytes()),
        (40, b"\x09\x00"),  # number of axes
        (42, b"\xff\x7f"),  # length of an axis
        (344, b"abcd"),  # magic
    ],
)
def test_fields_that_decide_over_the_voxels(tmp_path: Path, intact: bytes, offset: int, change: bytes) -> None:
    path = tmp_path / "damaged.nii"
    path.write_bytes(intact[:offset] + change + intact[offset + len(change) :])
    with pytest.raises(DataError) as error:
        read_image([path])
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_any_bytes(tmp_path: Path, intact: bytes) -> None:
    rng = np.random.default_rng(0)
    path, written = tmp_path / "damaged.nii", tmp_path / "written.nii"
    messages, readable = [], 0
    for _ in range(300):
        damaged = np.frombuffer(intact, np.uint8).copy()
        damaged[rng.integers(0, 352, 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            geometry = read_image([path]).geometry
        except DataError as error:
            messages.append(str(error))
            continue
        readable += 1
        write_labels(written, np.ones(geometry.shape, np.uint8), like=geometry)
        np.testing.assert_array_equal(read_geometry(written).affine, geometry.affine)
        assert read_geometry(written).shape == geometry.shape
    assert readable > 50
    assert messages
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in messages)
