"""Images that are no NIfTI, through SimpleITK, whose LPS millimetres become RAS here. Part of `transforms.io`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses

from swin_unetr.errors import DataError
from swin_unetr.files import replacing
from transforms.claims import bytes_on_disk, refuse_impossible_size
from transforms.geometry import Geometry, Volume

#: LPS millimetres, in which ITK has its images, to RAS; and back.
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> Volume:
    """An image file.

    Raises:
        DataError: it cannot be read, or is not 3-D.
    """
    geometry, channels, dtype = itk_header(path)
    refuse_impossible_size(path, math.prod(geometry.shape) * channels * dtype.itemsize, bytes_on_disk(path))
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


def write_itk(path: Path, volume: Volume) -> None:
    """Write C x X x Y x Z with its affine, a shear included, compressed; whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    array = volume.array.transpose(3, 2, 1, 0)
    channels = array.shape[-1]
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(array if channels > 1 else array[..., 0]), isVector=channels > 1
    )
    affine = TO_RAS @ volume.geometry.affine
    spacing = volume.geometry.spacing_mm
    image.SetSpacing(spacing)
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    with replacing(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise DataError(f"{path}: cannot be written ({reason(error)}); is there room on the disk?") from error


class _Voxels:
    """The voxels of an image where they are, for numpy; a view of SimpleITK's does not keep its image alive."""

    def __init__(self, image: Any) -> None:
        self._image = image
        self.__array_interface__ = sitk.GetArrayViewFromImage(image).__array_interface__


def _unreadable(path: Path, error: RuntimeError) -> DataError:
    return DataError(f"{path}: cannot be read as an image ({reason(error)})")


def reason(error: RuntimeError) -> str:
    """The last line of an error of SimpleITK: it puts the reason there."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip()[:200]


def _geometry(size: tuple[int, ...], image: Any) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Geometry((int(size[0]), int(size[1]), int(size[2])), TO_RAS @ affine)
