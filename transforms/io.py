"""Reads and writes images; the only module that knows nibabel, SimpleITK and itk.

Arrays come in the order in which they are stored, C x X x Y x Z, with the geometry of their grid beside them.
NIfTI goes through nibabel, everything else through SimpleITK, whose LPS millimetres become RAS here.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import Opener
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from swin_unetr.errors import DataError
from swin_unetr.files import replacing
from transforms.geometry import Geometry, Volume, require_same_geometry

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")
OTHER_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")

#: Deflate cannot shrink further than this; a header that claims more voxels than this allows is corrupt.
_DEFLATE_LIMIT = 1100
#: gzip level of what is written: 9, nibabel's default, takes several times as long for a few percent.
_GZIP_LEVEL = 3
#: DICOM's Image Position (Patient), in LPS millimetres.
_SLICE_POSITION = "0020|0032"
#: NIfTI header extension for free text.
_COMMENT = 6

_READING_ERRORS = (OSError, EOFError, ValueError, OverflowError, zlib.error, ImageFileError, HeaderDataError)


def read_geometry(path: Path) -> Geometry:
    """The grid of an image file, from its header alone where the format allows it.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    if _is_nifti(path):
        return _nifti_geometry(path, _open_nifti(path))
    return _read_itk(path).geometry


def read_image(paths: Sequence[Path], channels: int | None = None) -> Volume:
    """Read the channels of one scan.

    Args:
        paths: one file per channel, or a single file whose fourth axis holds the channels.
        channels: how many are wanted; none takes what there is.

    Returns:
        float32, C x X x Y x Z as stored, with the geometry of the first file.

    Raises:
        DataError: a file is missing, truncated, has NaN or infinite voxels or the wrong number of channels.
        GeometryError: the channels lie on different grids.
    """
    if not paths:
        raise DataError("a scan without files; check the data set's description")
    volumes = [_read(path) for path in paths]
    for path, volume in zip(paths, volumes, strict=True):
        if len(paths) > 1 and volume.array.shape[0] != 1:
            raise DataError(f"{path}: is 4-D where one 3-D file per channel is wanted; split it into its channels")
        require_same_geometry(path, volume.geometry, paths[0], volumes[0].geometry)
    array = volumes[0].array if len(volumes) == 1 else np.concatenate([volume.array for volume in volumes])
    if channels is not None and array.shape[0] != channels:
        if channels == 1:
            raise DataError(f"{paths[0]}: is 4-D with {array.shape[0]} channels where a 3-D scan is wanted")
        raise DataError(f"{paths[0]}: has {array.shape[0]} channel(s) where {channels} are wanted")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is told of below
        array = array.astype(np.float32, copy=False)
    for index, channel in enumerate(array):
        if not np.isfinite(channel).all():
            path = paths[index] if len(paths) > 1 else paths[0]
            count = int(channel.size - np.isfinite(channel).sum())
            raise DataError(f"{path}: has {count} NaN or infinite voxels; replace them by a value that means nothing")
    return Volume(array, volumes[0].geometry)


def read_labels(path: Path) -> Volume:
    """Read a label map.

    Returns:
        The smallest unsigned integer type that fits, 1 x X x Y x Z as stored.

    Raises:
        DataError: the file is missing, truncated, 4-D, or holds values that are no label numbers.
    """
    volume = _read(path)
    array = volume.array
    if array.shape[0] != 1:
        raise DataError(f"{path}: is 4-D with {array.shape[0]} channels where a 3-D label map is wanted")
    if not np.issubdtype(array.dtype, np.integer):
        if not np.isfinite(array).all():
            raise DataError(f"{path}: has NaN or infinite voxels in a label map; replace them by 0")
        if not np.array_equal(array, np.rint(array)):
            raise DataError(f"{path}: holds values that are no whole numbers; it is no label map, or was resampled")
        if np.abs(array).max() > np.iinfo(np.int32).max:
            raise DataError(f"{path}: holds values up to {np.abs(array).max():g}; it is no label map")
        array = np.rint(array).astype(np.int64)
    if array.min() < 0:
        raise DataError(f"{path}: holds negative label values ({int(array.min())}); labels start at 0")
    return Volume(array.astype(np.min_scalar_type(int(array.max())), copy=False), volume.geometry)


def read_label_names(path: Path) -> dict[int, str]:
    """Names by label value that `write_labels` kept in the file; empty where there are none.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    for extension in getattr(_open_nifti(path).header, "extensions", ()) if _is_nifti(path) else ():
        try:
            labels = json.loads(extension.text.rstrip("\0"))["labels"]
            return {int(value): str(name) for value, name in labels.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # somebody else's
    return {}


def write_labels(path: Path, labels: NDArray[Any], like: Geometry, names: Mapping[int, str] | None = None) -> None:
    """Write a label map as NIfTI on the grid of its source.

    Affine, sform and qform with their codes, and units are the source's; the type is the smallest that fits.

    Args:
        path: ends in `.nii.gz` or `.nii`.
        labels: X x Y x Z integers, as stored in the source.
        like: geometry of the source.
        names: label value to name, kept as JSON in a header extension.

    Raises:
        DataError: the array does not have the shape of the source's grid.
    """
    smallest = np.min_scalar_type(int(labels.max(initial=0)))
    _write_nifti(path, labels.astype(smallest, copy=False), like, names)


def write_channels(path: Path, array: NDArray[Any], like: Geometry) -> None:
    """Write a map of several channels as 4-D NIfTI (X x Y x Z x C) on the grid of its source.

    Args:
        path: ends in `.nii.gz` or `.nii`.
        array: C x X x Y x Z.
        like: geometry of the source.
    """
    _write_nifti(path, np.moveaxis(np.asarray(array, np.float32), 0, -1), like, None)


def write_image(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Geometry:
    """Write a new 3-D image as NIfTI-1 in millimetres.

    Args:
        path: ends in `.nii.gz` or `.nii`.
        array: X x Y x Z.
        affine: 4x4, voxel to RAS millimetres.

    Returns:
        The geometry of what was written, for label maps on the same grid.
    """
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    geometry = _nifti_geometry(path, image)
    _write_nifti(path, array, geometry, None)
    return geometry


def nifti_bytes(array: NDArray[Any], like: Geometry) -> bytes:
    """A 3-D array (X x Y x Z) as an uncompressed NIfTI-1 file in memory, with the affine of its grid alone."""
    content: bytes = _image_like(array, Geometry(shape=like.shape, affine=like.affine)).to_bytes()
    return content


def _read(path: Path) -> Volume:
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    if not _is_nifti(path):
        return _read_itk(path)
    image = _open_nifti(path)
    geometry = _nifti_geometry(path, image)
    _refuse_impossible_size(path, image)
    try:
        array = _voxels(path, image)
    except MemoryError as error:
        raise DataError(f"{path}: its {image.shape} voxels do not fit into memory") from error
    except _READING_ERRORS as error:
        raise DataError(f"{path}: is truncated or damaged ({_short(error)}); copy it again") from error
    array = array.reshape(array.shape + (1,) * (3 - array.ndim)) if array.ndim < 3 else array
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 4 or array.size == 0 or array.dtype.kind not in "biuf":
        raise DataError(f"{path}: has shape {array.shape} of {array.dtype}; a 3-D or 4-D image of numbers is wanted")
    return Volume(array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0), geometry)


def _voxels(path: Path, image: Any) -> NDArray[Any]:
    array: NDArray[Any]
    if not _is_gzip(path):
        array = np.asanyarray(image.dataobj)
        return array
    with gzip.open(path) as stream:
        array = np.asanyarray(type(image).from_stream(stream).dataobj)
        # nibabel stops after the last voxel; gzip compares its checksum only when it comes to the end.
        while stream.read(1 << 20):
            pass
    return array


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _open_nifti(path: Path) -> Any:
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    try:
        return nibabel.load(path)
    except _READING_ERRORS as error:
        raise DataError(f"{path}: is not a readable NIfTI file ({_short(error)}); copy or convert it again") from error


def _nifti_geometry(path: Path, image: Any) -> Geometry:
    affine = np.array(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"{path}: its header's affine places voxels nowhere (voxel size 0 or NaN); mend the header")
    shape = (*image.shape[:3], 1, 1, 1)[:3]
    header = image.header.copy() if isinstance(image.header, nibabel.Nifti1Header) else None
    return Geometry(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        affine=affine,
        nifti_header=header,
    )


def _refuse_impossible_size(path: Path, image: Any) -> None:
    """A header that claims more than the file can hold is told before memory is taken for it."""
    claimed = int(np.prod(image.shape, dtype=np.float64)) * image.get_data_dtype().itemsize
    data = path.with_suffix(".img") if path.suffix == ".hdr" else path
    held = data.stat().st_size * (_DEFLATE_LIMIT if _is_gzip(path) else 1) if data.exists() else claimed
    if claimed > held:
        raise DataError(f"{path}: is truncated: its header claims {claimed} bytes of voxels; copy it again")


def _read_itk(path: Path) -> Volume:
    """An image that is no NIfTI, or a folder with one DICOM series."""
    import SimpleITK as sitk  # noqa: N813  # the name its documentation uses

    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    try:
        image = _read_series(path, sitk) if path.is_dir() else sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise DataError(f"{path}: cannot be read as an image ({_short(error)})") from error
    if image.GetDimension() != 3:
        raise DataError(f"{path}: has {image.GetDimension()} dimensions where 3 are wanted")
    array = sitk.GetArrayFromImage(image)
    array = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]
    to_ras = np.diag([-1.0, -1.0, 1.0])
    affine = np.eye(4)
    affine[:3, :3] = to_ras @ np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = to_ras @ np.asarray(image.GetOrigin())
    x, y, z = image.GetSize()
    return Volume(array.transpose(0, 3, 2, 1), Geometry(shape=(x, y, z), affine=affine))


def _read_series(folder: Path, sitk: Any) -> Any:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise DataError(f"{folder}: holds {len(series)} DICOM series where one is wanted; one folder per series")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    for index in range(image.GetDepth()):
        listed = np.array(reader.GetMetaData(index, _SLICE_POSITION).split("\\"), np.float64)
        away = float(np.linalg.norm(listed - image.TransformIndexToPhysicalPoint((0, 0, index))))
        if away > min(image.GetSpacing()) / 2:
            raise DataError(
                f"{folder}: slice {index + 1} lies {away:.3g} mm off an even grid: slices are missing, unevenly spaced "
                "or tilted; convert the series to NIfTI with a program that resamples"
            )
    return image


def _write_nifti(path: Path, array: NDArray[Any], like: Geometry, names: Mapping[int, str] | None) -> None:
    if tuple(array.shape[:3]) != like.shape:
        raise DataError(f"{path}: result of shape {array.shape[:3]} for a scan of shape {like.shape}")
    image = _image_like(array, like)
    if names:
        text = json.dumps({"labels": {str(value): name for value, name in names.items()}}, ensure_ascii=False)
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, text.encode()))
    compression = {"compresslevel": _GZIP_LEVEL} if _is_gzip(path) else {}
    with replacing(path) as temporary, Opener(str(temporary), "wb", **compression) as file:
        image.to_stream(file)


def _image_like(array: NDArray[Any], like: Geometry) -> Any:
    """A NIfTI image with the header of the source, less what describes its voxels."""
    source = like.nifti_header
    if source is None:
        kind = nibabel.Nifti1Image if max(array.shape) < 2**15 else nibabel.Nifti2Image
        image = kind(array, like.affine)
        image.header.set_xyzt_units("mm")
        return image
    # A pair (.hdr, .img) is written as a single file; the version of the format is kept.
    kind = nibabel.Nifti2Image if isinstance(source, nibabel.Nifti2Header) else nibabel.Nifti1Image
    header = kind.header_class.from_header(source)
    header.extensions.clear()
    header.set_data_dtype(array.dtype)
    header.set_intent("none")
    for field in ("cal_min", "cal_max", "descrip", "aux_file"):
        header[field] = kind.header_class()[field]
    return kind(array, like.affine, header)


def _short(error: BaseException) -> str:
    """The last line of an error's message: image libraries put the reason there."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:200]
