"""Checks what we read from real DICOM files against pydicom and highdicom, file by file.

    python scripts/check/dicom_zoo.py [--data ../shared/data/dicom_zoo] [--output zoo.json]

A folder with several files of one series counts as one scan; if it is refused, each of its files counts. For each it
prints what was read, with the largest difference of its voxels and of the positions of its corners from the other
library's, or the line that refused it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray

from swin_unetr.datasets.dicom_objects import dicom_object, is_dicom
from swin_unetr.errors import DataError
from transforms.geometry import Volume
from transforms.io import read_file

#: RAS millimetres from DICOM's LPS.
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("SWIN_UNETR_TEST_DATA") or "../shared/data")
    parser.add_argument("--data", type=Path, default=data / "dicom_zoo", help="folder of DICOM files")
    parser.add_argument("--output", type=Path, help="JSON file of the table")
    arguments = parser.parse_args()
    rows = [check(path, arguments.data) for path in paths(arguments.data)]
    for row in rows:
        print(f"{row['path']}: {_words(row)}")
    read = [row for row in rows if row["read"]]
    print(f"{len(read)} of {len(rows)} read, {len(rows) - len(read)} refused")
    encodings = [row for row in read if row["path"].startswith("transfer_syntaxes")]
    arrays = len({row["hash"] for row in encodings})
    print(f"{len(encodings)} encodings of one slice give {arrays} array{'s' * (arrays != 1)}")
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def paths(root: Path) -> Iterator[Path]:
    """Folders with several files of one series that can be read, and all other files."""
    for folder in sorted([root, *(path for path in root.rglob("*") if path.is_dir())]):
        files = sorted(path for path in folder.iterdir() if path.is_file() and is_dicom(path))
        headers = (pydicom.dcmread(path, stop_before_pixels=True, force=True) for path in files)
        series = {str(header.get("SeriesInstanceUID")) for header in headers}
        if len(files) > 1 and len(series) == 1:
            yield folder
            if _is_read(folder):
                continue
        yield from files


def check(path: Path, root: Path) -> dict[str, Any]:
    """One row of the table."""
    row: dict[str, Any] = {"path": str(path.relative_to(root)), "read": False}
    try:
        volume = read_file(path)
    except DataError as error:
        return row | {"refused": str(error).replace(f"{root}{os.sep}", "")}
    row |= {
        "read": True,
        "shape": volume.geometry.shape,
        "spacing_mm": [round(size, 4) for size in volume.geometry.spacing_mm],
        "dtype": str(volume.array.dtype),
        "hash": hashlib.sha256(np.ascontiguousarray(volume.array).tobytes()).hexdigest()[:16],
    }
    first = path if path.is_file() else next(file for file in sorted(path.iterdir()) if is_dicom(file))
    oracle = _of_highdicom if dicom_object(first).kind == "frames" else _of_pydicom
    return row | oracle(path, volume)


def _of_pydicom(path: Path, volume: Volume) -> dict[str, Any]:
    """Differences from the slices as pydicom reads them, each with its own header."""
    files = [path] if path.is_file() else [file for file in sorted(path.iterdir()) if is_dicom(file)]
    slices = [pydicom.dcmread(file) for file in files]
    axes = [np.reshape(one.ImageOrientationPatient, (2, 3)).astype(float) for one in slices]
    starts = [np.array(one.ImagePositionPatient, float) for one in slices]
    order = np.argsort([start @ np.cross(*axes[0]) for start in starts])
    voxels: list[float] = []
    mm: list[float] = []
    for index, which in enumerate(order):
        one = slices[which]
        spacing = np.array(one.PixelSpacing, float)[::-1]
        for corner in np.ndindex(2, 2):
            place = np.array(corner) * (one.Columns - 1, one.Rows - 1)
            truth = starts[which] + (place * spacing) @ axes[which]
            mm.append(float(np.linalg.norm(_position(volume, (*place, index)) - truth)))
        try:
            values = one.pixel_array * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0))
        except (RuntimeError, NotImplementedError) as error:
            return {"oracle": f"pydicom cannot decode it ({str(error).splitlines()[0][:60]})", "position_mm": max(mm)}
        voxels.append(float(np.abs(volume.array[0, :, :, index] - values.T).max()))
    return {"oracle": "pydicom", "voxels": max(voxels), "position_mm": max(mm)}


def _of_highdicom(path: Path, volume: Volume) -> dict[str, Any]:
    """Differences from highdicom's own volume, which is slice x row x column, perhaps in the other direction."""
    file = path if path.is_file() else next(file for file in sorted(path.iterdir()) if is_dicom(file))
    theirs = highdicom.imread(file).get_volume(apply_real_world_transform=False)
    array: NDArray[np.float64] = theirs.array.transpose(2, 1, 0)
    affine = theirs.affine[:, [2, 1, 0, 3]]
    if np.linalg.norm(_position(volume, (0, 0, 0)) - affine[:3, 3]) > 1e-3:
        affine = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, array.shape[2] - 1], [0, 0, 0, 1]])
        array = array[:, :, ::-1]
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(array.shape) - 1)
    mm = [float(np.linalg.norm(_position(volume, corner) - (affine @ (*corner, 1))[:3])) for corner in corners]
    voxels = float(np.abs(volume.array[0].astype(np.float64) - array).max())
    return {"oracle": "highdicom", "voxels": voxels, "position_mm": max(mm)}


def _position(volume: Volume, index: Any) -> NDArray[np.float64]:
    """Position of a voxel, LPS millimetres."""
    place: NDArray[np.float64] = (_TO_RAS @ volume.geometry.affine @ (*index, 1))[:3]
    return place


def _is_read(path: Path) -> bool:
    try:
        read_file(path)
    except DataError:
        return False
    return True


def _words(row: dict[str, Any]) -> str:
    if not row["read"]:
        return f"refused: {row['refused']}"
    shape = " x ".join(map(str, row["shape"]))
    spacing = " x ".join(f"{size:g}" for size in row["spacing_mm"])
    apart = f"voxels differ by {row['voxels']:g}, " if "voxels" in row else ""
    return (
        f"read {shape}, {spacing} mm, {row['dtype']}; {apart}positions by {row['position_mm']:.1g} mm ({row['oracle']})"
    )


if __name__ == "__main__":
    main()
