"""Reads and writes images. Only this module and its parts `io_nifti`, `io_itk` and `io_dicom` use image libraries.

Arrays come in the order in which they are stored, C x X x Y x Z, with the geometry of their grid beside them.
NIfTI goes through nibabel, its voxels through `transforms.stored`; everything else through SimpleITK.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.datasets.dicom_objects import is_dicom
from swin_unetr.errors import DataError
from swin_unetr.files import require
from swin_unetr.words import count
from transforms import io_nifti as nifti
from transforms.geometry import Geometry, Volume, require_same_geometry
from transforms.slicer import is_segmentation, on_grid_of
from transforms.values import are_whole
from transforms.verdict import RefusedError, Verdict

NIFTI_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".img")

_NO_FILES = "a scan without files; check the data set's description"


def read_verdict(path: Path) -> Verdict:
    """What an image file or a folder with a DICOM series is and how it is read, from its header alone.

    Every command reads through this decision, so that no command accepts what another one refuses.

    Raises:
        RefusedError: no command can use it; says why and, as a code, what kind of fault it is.
        DataError: the file is missing or cannot be read.
    """
    require(path)
    if _is_nifti(path):
        return nifti.verdict(path)
    if path.is_dir() or is_dicom(path):
        from transforms.io_dicom import dicom_verdict

        return dicom_verdict(path)
    from transforms.io_itk import itk_verdict

    return itk_verdict(path)


def read_geometry(path: Path) -> Geometry:
    """The grid of an image file, from its header alone where the format allows it.

    Raises:
        DataError: the file is missing or cannot be used.
    """
    return read_verdict(path).geometry


def read_header(paths: Sequence[Path], channels: int | None = None) -> tuple[Geometry, int, np.dtype[Any]]:
    """What `read_stored` will give, without reading voxels: geometry, channels and type.

    Raises:
        DataError: a file is missing or cannot be used.
    """
    if not paths:
        raise DataError(_NO_FILES)
    refuse_time_series(paths, channels)
    found = [read_verdict(path) for path in paths]
    dtype = np.result_type(*(verdict.dtype for verdict in found))
    return found[0].geometry, sum(verdict.channels for verdict in found), dtype


def read_image(paths: Sequence[Path], channels: int | None = None) -> Volume:
    """Read the channels of one scan.

    Args:
        paths: one file per channel, or a single file whose fourth axis holds the channels.
        channels: how many are expected. If None, as many as there are.

    Returns:
        float32, C x X x Y x Z as stored, with the geometry of the first file.

    Raises:
        DataError: a file is missing, truncated, has NaN or infinite voxels or the wrong number of channels.
        GeometryError: the channels lie on different grids.
    """
    volume = read_stored(paths, channels)
    return replace(volume, array=volume.array.astype(np.float32, copy=False))


def read_stored(paths: Sequence[Path], channels: int | None = None) -> Volume:
    """As `read_image`, but in the narrowest type: whole numbers as they are stored, everything else in float32.

    No second copy of the scan is made; uncompressed voxels in this type are memory-mapped, not read.
    """
    if not paths:
        raise DataError(_NO_FILES)
    refuse_time_series(paths, channels)
    first = read_file(paths[0], lean=True)
    notes = list(first.notes)
    if len(paths) == 1:
        array = first.array
    else:
        # One file after another is copied into its place, so that only one is in memory twice.
        array = np.empty((len(paths), *first.geometry.shape), first.array.dtype, order="F")
        for index, path in enumerate(paths):
            volume = first if index == 0 else read_file(path, lean=True)
            if volume.array.shape[0] != 1:
                raise DataError(f"{path}: is 4-D where one 3-D file per channel is wanted; split it into its channels")
            require_same_geometry(path, volume.geometry, paths[0], first.geometry)
            notes += [replace(note, path=note.path or path) for note in volume.notes if index]
            array = array.astype(np.result_type(array, volume.array), copy=False)
            array[index] = volume.array[0]
    if channels is not None and array.shape[0] != channels:
        if channels == 1:
            raise DataError(f"{paths[0]}: is 4-D with {array.shape[0]} channels where a 3-D scan is wanted")
        raise DataError(
            f"{paths[0]}: has {count(array.shape[0], 'channel')} where {channels} are wanted; give the files of all "
            "channels as one case, in a list (CSV or JSON) or a data set that names them"
        )
    for index, channel in enumerate(array):
        if wrong := _not_finite(channel):
            path = paths[index] if len(paths) > 1 else paths[0]
            found = count(wrong, "NaN or infinite voxel")
            raise DataError(f"{path}: has {found}; replace them by a number, such as the value of the background")
    return Volume(array, first.geometry, tuple(notes))


def refuse_time_series(paths: Sequence[Path], channels: int | None) -> None:
    """Refuse one scan at many times, unless as many channels are wanted: headers of channels may say seconds too.

    Args:
        paths: one file per channel, or a single file whose fourth axis holds the channels.
        channels: how many the task or the data set names. If None, neither names a number.

    Raises:
        RefusedError: one of the files is a time series.
        DataError: a file is missing or cannot be used.
    """
    for path in filter(_is_nifti, paths):  # the other readers always refuse it
        verdict = read_verdict(path)
        if verdict.kind == "time series" and (len(paths) > 1 or verdict.channels != channels):
            words = f"is a time series of {verdict.channels} volumes where a 3-D scan is wanted"
            raise RefusedError(f"{path}: {words}; split it, one file for each time", "wrong-dimensions")


def _not_finite(channel: NDArray[Any]) -> int:
    """Number of NaN or infinite voxels, slice by slice."""
    if channel.dtype.kind != "f":
        return 0
    return sum(int(plane.size - np.count_nonzero(np.isfinite(plane))) for plane in np.moveaxis(channel, -1, 0))


def read_labels(path: Path, like: Geometry | None = None) -> Volume:
    """Read a label map.

    Args:
        path: the file.
        like: grid of the scan. If given, a segmentation of 3D Slicer, which holds only the box that its segments
            fill, is put on this grid, if it lies on its voxels.

    Returns:
        The smallest unsigned integer type that fits, 1 x X x Y x Z as stored.

    Raises:
        DataError: the file is missing, truncated, 4-D, or holds values that are no label numbers.
    """
    volume = read_file(path)
    array = volume.array
    if array.shape[0] != 1:
        is_series = read_verdict(path).kind == "time series"
        held = f"a time series of {len(array)} volumes" if is_series else f"4-D with {len(array)} channels"
        raise DataError(f"{path}: is {held} where a 3-D label map is wanted")
    if not np.issubdtype(array.dtype, np.integer):
        if not np.isfinite(array).all():
            raise DataError(f"{path}: has NaN or infinite voxels in a label map; replace them by 0")
        if not are_whole(array).all():
            raise DataError(f"{path}: holds values that are no whole numbers; {_why_not_whole(volume.geometry)}")
        if np.abs(array).max() > np.iinfo(np.int32).max:
            raise DataError(f"{path}: holds values up to {np.abs(array).max():g}; it is no label map")
        array = np.rint(array).astype(np.int64)
    if array.min() < 0:
        raise DataError(f"{path}: holds negative label values ({int(array.min())}); labels start at 0")
    array = array.astype(np.min_scalar_type(int(array.max())), copy=False)
    labels = replace(volume, array=array)
    return on_grid_of(labels, like) if like is not None and is_segmentation(path) else labels


def _why_not_whole(geometry: Geometry) -> str:
    """The reason, from the header if it scales the stored numbers."""
    header = geometry.nifti_header
    slope = 1.0 if header is None else float(header["scl_slope"])
    if slope in (0.0, 1.0) or not math.isfinite(slope):
        return "it is no label map, or was resampled"
    return f"its header multiplies them by {slope:g} (scl_slope); save the labels as integers, with slope 1"


def read_label_names(path: Path) -> dict[int, str]:
    """Names by label value that the file itself gives: what `write_labels` kept, or the segments of 3D Slicer.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    return dict(read_verdict(path).label_names)


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
    values = {"labels": {str(value): name for value, name in names.items()}} if names else None
    comment = json.dumps(values, ensure_ascii=False) if values else None
    nifti.write(path, labels.astype(smallest, copy=False), like, comment)


def write_channels(path: Path, array: NDArray[Any], like: Geometry) -> None:
    """Write a map of numbers as float32 NIfTI on the grid of its source: of several channels X x Y x Z x C, 4-D.

    Args:
        path: ends in `.nii.gz` or `.nii`.
        array: C x X x Y x Z, or X x Y x Z.
        like: geometry of the source.
    """
    nifti.write(path, np.asarray(array if array.ndim == 3 else np.moveaxis(array, 0, -1), np.float32), like)


def write_image(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Geometry:
    """Write a new 3-D image as NIfTI-1 in millimetres.

    Args:
        path: ends in `.nii.gz` or `.nii`.
        array: X x Y x Z.
        affine: 4x4, voxel to RAS millimetres.

    Returns:
        The geometry of what was written, for label maps on the same grid.
    """
    geometry = nifti.new_geometry(array, affine)
    nifti.write(path, array, geometry)
    return geometry


def write_volume(path: Path, volume: Volume) -> None:
    """Write an image as it is, in the format of the file's ending: no number and no affine is changed.

    NIfTI keeps the affine in float32. A NIfTI file takes the codes and units of the header that the volume comes with.

    Args:
        path: ends in `.nii.gz`, `.nii`, `.nrrd` or `.mha`.
        volume: C x X x Y x Z; several channels become the fourth axis of NIfTI, and the components of others.

    Raises:
        DataError: it cannot be written.
    """
    if _is_nifti(path):
        array = np.moveaxis(volume.array, 0, -1)
        nifti.write(path, array[..., 0] if array.shape[-1] == 1 else array, volume.geometry)
        return
    from transforms.io_itk import write_itk

    write_itk(path, volume)


def rewrite_nifti(source: Path, path: Path) -> bool:
    """Write a NIfTI file under another of NIfTI's endings, with its header and its stored numbers.

    Returns:
        Whether that was done: False if one of them is not a NIfTI file.

    Raises:
        DataError: the source is missing or damaged.
    """
    if not (_is_nifti(source) and _is_nifti(path)) or read_geometry(source).nifti_header is None:
        return False
    nifti.rewrite(source, path)
    return True


def nifti_bytes(array: NDArray[Any], like: Geometry) -> bytes:
    """A 3-D array (X x Y x Z) as an uncompressed NIfTI-1 file in memory, with the affine of its grid alone."""
    return nifti.in_memory(array, Geometry(shape=like.shape, affine=like.affine))


def read_file(path: Path, *, lean: bool = False) -> Volume:
    """Read an image file, or a folder with a DICOM series, without judging its values.

    Args:
        path: the file.
        lean: in the narrowest type that float32 allows; otherwise as it is stored, scaled values in float64.

    Returns:
        C x X x Y x Z as stored, with the geometry of the file.

    Raises:
        DataError: the file is missing, truncated, or no image.
    """
    require(path)
    if not _is_nifti(path):
        volume = _read_other(path)
        if lean and (volume.array.dtype.kind not in "biu" or volume.array.dtype.itemsize > 4):
            with np.errstate(over="ignore"):
                volume = replace(volume, array=volume.array.astype(np.float32, copy=False))
        return volume
    return nifti.read(path, lean=lean)


def dicom_problems(path: Path) -> tuple[tuple[Path, str], ...]:
    """What keeps the DICOM files of a folder, or the frames of a file, from being one even stack of slices.

    A localiser or another series among them, another orientation or size, slices in the same place, missing, unevenly
    spaced or shifted, files that cannot be read.

    Returns:
        Each file that does not fit, and why in words that follow its name; empty for a sound series, and for files
        without an image, which have no slices (`read_verdict` refuses them).
    """
    from transforms.io_dicom import stack_problems

    return stack_problems(path)


def _read_other(path: Path) -> Volume:
    if path.is_dir() or is_dicom(path):
        from transforms.io_dicom import read_dicom

        return read_dicom(path)
    from transforms.io_itk import read_itk

    return read_itk(path)


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES) and not os.path.isdir(path)  # some unpack it into a folder
