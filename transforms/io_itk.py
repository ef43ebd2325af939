"""Images other than NIfTI, through SimpleITK, whose LPS millimetres become RAS here. Part of `transforms.io`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses

from swin_unetr.errors import DataError
from swin_unetr.files import replacing
from transforms.geometry import Geometry, Volume
from transforms.nifti_grid import NOWHERE, is_sound
from transforms.size_check import bytes_on_disk, missing_spacing, refuse_impossible_size, refuse_stand_in
from transforms.slicer import LAYERED, is_segmentation, segments
from transforms.verdict import RefusedError, Verdict

#: From LPS millimetres, which ITK uses, to RAS, and back.
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> Volume:
    """An image file.

    Raises:
        DataError: it cannot be read, or is not 3-D.
    """
    found = itk_verdict(path)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    array = np.asarray(_Voxels(image))
    array = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]
    return Volume(array.transpose(0, 3, 2, 1), found.geometry, found.notes)


def itk_verdict(path: Path) -> Verdict:
    """See `transforms.io.read_verdict`.

    Raises:
        DataError: it cannot be read, or no command can use it.
    """
    try:
        refuse_stand_in(path)
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check your permissions") from error
    size, channels = reader.GetSize(), int(reader.GetNumberOfComponents())
    in_words = " x ".join(map(str, size))
    labelled = segments(reader)
    if len(size) < 3:
        words = f"is a picture of 2 dimensions ({in_words} pixels)"
        raise RefusedError(f"{path}: {words}; a 3-D scan is wanted", "picture")
    if (labelled is not None or is_segmentation(path)) and (channels > 1 or len(size) > 3):
        raise RefusedError(f"{path}: {LAYERED}", "layered")
    if len(size) > 3:
        words = f"has {len(size)} dimensions where 3 are wanted ({in_words})"
        raise RefusedError(f"{path}: {words}; split it into 3-D files", "wrong-dimensions")
    dtype = sitk.GetArrayViewFromImage(sitk.Image([1] * 3, reader.GetPixelIDValue())).dtype
    if dtype.kind not in "biuf":
        raise RefusedError(f"{path}: holds complex numbers ({in_words}); save their magnitude", "picture")
    refuse_impossible_size(path, math.prod(size) * channels * dtype.itemsize, bytes_on_disk(path))
    geometry = _geometry(size, reader)
    if not is_sound(geometry.affine):
        raise RefusedError(f"{path}: {NOWHERE}", "no-grid")
    return Verdict(
        path=path,
        kind="scan" if labelled is None else "label map",
        geometry=geometry,
        channels=channels,
        dtype=dtype if dtype.kind in "biu" and dtype.itemsize <= 4 else np.dtype(np.float32),
        notes=tuple(missing_spacing(path)),
        label_names=labelled or (),
    )


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
    """The voxels of an image for numpy, not copied; a view of SimpleITK's does not keep its image alive."""

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
