"""Images that are no NIfTI, through SimpleITK, whose LPS millimetres become RAS here. Part of `transforms.io`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses

from swin_unetr.errors import DataError
from transforms.geometry import Geometry, Volume


def read_itk(path: Path) -> Volume:
    """An image file.

    Raises:
        DataError: it cannot be read, or is not 3-D.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    array = np.asarray(_Voxels(image))
    array = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]
    if image.GetDimension() != 3:
        raise DataError(f"{path}: has {image.GetDimension()} dimensions where 3 are wanted")
    return Volume(array.transpose(0, 3, 2, 1), _geometry(image.GetSize(), image))


def itk_header(path: Path) -> tuple[Geometry, int, np.dtype[Any]]:
    """Grid, channels and type of an image file without its voxels.

    Raises:
        DataError: it cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    dimension = reader.GetDimension()
    size = tuple(reader.GetSize()[:3]) + (1,) * (3 - dimension)
    geometry = _geometry(size, reader) if dimension == 3 else Geometry((size[0], size[1], size[2]), np.eye(4))
    stored = sitk.GetArrayViewFromImage(sitk.Image([1] * 3, reader.GetPixelIDValue())).dtype
    return geometry, int(reader.GetNumberOfComponents()), stored


class _Voxels:
    """The voxels of an image where they are, for numpy; a view of SimpleITK's does not keep its image alive."""

    def __init__(self, image: Any) -> None:
        self._image = image
        self.__array_interface__ = sitk.GetArrayViewFromImage(image).__array_interface__


def _unreadable(path: Path, error: RuntimeError) -> DataError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"{path}: cannot be read as an image ({lines[-1][:200]})")


def _geometry(size: tuple[int, ...], image: Any) -> Geometry:
    to_ras = np.diag([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = to_ras @ np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = to_ras @ np.asarray(image.GetOrigin())
    return Geometry((int(size[0]), int(size[1]), int(size[2])), affine)
