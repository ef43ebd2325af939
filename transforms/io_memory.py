"""Images that other libraries hold in memory, and label maps of the same kind for them. Part of `transforms.io`.

nibabel, SimpleITK, itk, MONAI's MetaTensor, or an array with its affine. A library is recognised by the type of the
image, so that none is imported that the caller has not imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.errors import DataError
from transforms.geometry import Geometry, Volume

#: From LPS millimetres, which ITK uses, to RAS.
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_KINDS = "a nibabel, SimpleITK or itk image, a MONAI MetaTensor, or a pair (array, affine)"


@dataclass(frozen=True, eq=False)
class ImageInMemory:
    """An image of another library, as a `Volume`.

    Attributes:
        volume: C x X x Y x Z as stored, with its grid in RAS millimetres.
        labels_like: makes a label map of the image's own kind, on its grid, from X x Y x Z integers.
    """

    volume: Volume
    labels_like: Callable[[NDArray[Any]], Any]


def from_memory(image: Any) -> ImageInMemory:
    """Take an image of another library.

    Args:
        image: a 3-D `nibabel` image (channels on the fourth axis), `SimpleITK.Image` or `itk.Image` (channels as
            components), a `monai.data.MetaTensor` (C x X x Y x Z or X x Y x Z, affine in RAS as MONAI's readers give
            it), or a pair of an array (C x X x Y x Z or X x Y x Z) and its 4 x 4 affine to RAS millimetres.

    Raises:
        DataError: another kind, or not 3-D.
    """
    library = {base.__module__.partition(".")[0] for base in type(image).__mro__}
    if "nibabel" in library:
        return _of_nibabel(image)
    if "SimpleITK" in library:
        return _of_simpleitk(image)
    if "itk" in library:
        return _of_itk(image)
    if "monai" in library:
        return _of_metatensor(image)
    if isinstance(image, tuple) and len(image) == 2:
        array, affine = np.asarray(image[0]), np.asarray(image[1], np.float64)
        return ImageInMemory(_volume(array, affine), lambda labels: (labels, affine))
    raise DataError(f"image: is a {type(image).__module__}.{type(image).__name__}; give {_KINDS}")


def _of_nibabel(image: Any) -> ImageInMemory:
    import nibabel

    array = np.asanyarray(image.dataobj)
    if array.ndim not in (3, 4):
        raise DataError(f"image: has the shape {array.shape}; a 3-D image is needed, with channels on a fourth axis")
    volume = _volume(array if array.ndim == 3 else np.moveaxis(array, -1, 0), image.affine)

    def labels_like(labels: NDArray[Any]) -> Any:
        kind = type(image) if isinstance(image, nibabel.Nifti1Image) else nibabel.Nifti1Image
        header = kind.header_class.from_header(image.header) if isinstance(image, nibabel.Nifti1Image) else None
        if header is not None:  # these fields describe the scan's values, not the labels
            header.set_data_dtype(labels.dtype)
            header.set_slope_inter(1, 0)
            header["cal_min"] = header["cal_max"] = 0
            header.set_intent("none")
        return kind(labels, image.affine, header, dtype=labels.dtype)

    return ImageInMemory(volume, labels_like)


def _of_simpleitk(image: Any) -> ImageInMemory:
    import SimpleITK as sitk  # noqa: N813  # the name its documentation uses

    _require_three(image.GetDimension())
    array = sitk.GetArrayFromImage(image)
    affine = _affine(np.reshape(image.GetDirection(), (3, 3)), image.GetSpacing(), image.GetOrigin())

    return ImageInMemory(_volume(_from_itk_order(array), affine), _labels_like(image, sitk.GetImageFromArray))


def _of_itk(image: Any) -> ImageInMemory:
    import itk

    _require_three(image.GetImageDimension())
    array = np.array(itk.array_view_from_image(image))
    direction = itk.array_from_matrix(image.GetDirection())
    affine = _affine(direction, np.asarray(image.GetSpacing()), np.asarray(image.GetOrigin()))

    return ImageInMemory(_volume(_from_itk_order(array), affine), _labels_like(image, itk.image_from_array))


def _of_metatensor(image: Any) -> ImageInMemory:
    from monai.data import MetaTensor

    if not isinstance(image, MetaTensor):
        raise DataError(f"image: is a {type(image).__name__}; give {_KINDS}")
    channels_first = image.ndim == 4
    volume = _volume(image.detach().cpu().numpy(), image.affine.cpu().numpy())

    def labels_like(labels: NDArray[Any]) -> Any:
        import torch

        made = torch.from_numpy(np.ascontiguousarray(labels))
        meta = {key: value for key, value in image.meta.items() if key != "affine"}
        return MetaTensor(made[None] if channels_first else made, affine=image.affine, meta=meta)

    return ImageInMemory(volume, labels_like)


def _labels_like(image: Any, from_array: Callable[[NDArray[Any]], Any]) -> Callable[[NDArray[Any]], Any]:
    """What puts labels into an image of SimpleITK or itk, on the grid of `image`."""

    def labels_like(labels: NDArray[Any]) -> Any:
        made = from_array(np.ascontiguousarray(labels.transpose(2, 1, 0)))
        made.CopyInformation(image)
        return made

    return labels_like


def _from_itk_order(array: NDArray[Any]) -> NDArray[Any]:
    """(C x) X x Y x Z from Z x Y x X (x C)."""
    turned: NDArray[Any] = array.transpose()
    return turned


def _affine(direction: NDArray[Any], spacing: Any, origin: Any) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = direction @ np.diag(spacing)
    affine[:3, 3] = origin
    return np.asarray(_TO_RAS @ affine, np.float64)


def _require_three(dimension: int) -> None:
    if dimension != 3:
        raise DataError(f"image: has {dimension} dimensions; a 3-D image is needed")


def _volume(array: NDArray[Any], affine: Any) -> Volume:
    if array.ndim not in (3, 4) or array.dtype.kind not in "biuf":
        raise DataError(f"image: is {array.dtype} of the shape {array.shape}; numbers in 3-D, or C x 3-D, are needed")
    affine = np.asarray(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError("image: its affine is not a 4 x 4 matrix that gives every voxel a place")
    array = array if array.ndim == 4 else array[None]
    x, y, z = array.shape[1:]
    return Volume(array, Geometry((x, y, z), affine))
