"""NIfTI (and Analyze) files: headers through nibabel, voxels through `transforms.stored`. Part of `transforms.io`."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from isal import isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from swin_unetr.errors import DataError
from swin_unetr.files import replacing, require
from transforms.claims import DEFLATE_LIMIT
from transforms.geometry import Geometry, Volume
from transforms.stored import Stored, open_binary

#: Level of ISA-L's gzip, 0..3, of what is written: of a label map 3 saves 4 % more and takes six times as long.
_GZIP_LEVEL = 2
#: NIfTI header extension for free text.
_COMMENT = 6

_READING_ERRORS: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, OverflowError),
    *(zlib.error, cast("type[Exception]", isal_zlib.error), ImageFileError, HeaderDataError),
)


def geometry(path: Path) -> Geometry:
    """The grid of a file, from its header."""
    return _geometry(path, _open(path))


def header(path: Path) -> tuple[Geometry, int, np.dtype[Any]]:
    """Grid, channels and the type that `read` gives with `lean`, from the header."""
    image = _open(path)
    return _geometry(path, image), math.prod(image.shape[3:]), _stored(image).lean_type


def comments(path: Path) -> Iterator[str]:
    """Texts in the header's extensions."""
    for extension in getattr(_open(path).header, "extensions", ()):
        try:
            yield extension.text.rstrip("\0")
        except (ValueError, AttributeError):
            continue  # no text


def read(path: Path, *, lean: bool) -> Volume:
    """Voxels as stored, scaled ones in float64; `lean`: in the narrowest type that float32 allows."""
    image = _open(path)
    grid = _geometry(path, image)
    _refuse_impossible_size(path, image)
    try:
        array = _voxels(image, lean)
    except MemoryError as error:
        raise DataError(f"{path}: its {image.shape} voxels do not fit into memory") from error
    except _READING_ERRORS as error:
        raise _damaged(path, error) from error
    array = array.reshape(array.shape + (1,) * (3 - array.ndim)) if array.ndim < 3 else array
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 4 or array.size == 0 or array.dtype.kind not in "biuf":
        raise DataError(f"{path}: has shape {array.shape} of {array.dtype}; a 3-D or 4-D image of numbers is wanted")
    return Volume(array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0), grid)


def write(path: Path, array: NDArray[Any], like: Geometry, comment: str | None = None) -> None:
    """Write X x Y x Z (x C) with the header of a source, whole or not at all."""
    if tuple(array.shape[:3]) != like.shape:
        raise DataError(f"{path}: result of shape {array.shape[:3]} for a scan of shape {like.shape}")
    image = _image_like(array, like)
    if comment:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(_COMMENT, comment.encode()))
    with replacing(path) as temporary, open_binary(temporary, "wb", _GZIP_LEVEL) as file:
        image.to_stream(file)


def rewrite(source: Path, path: Path) -> None:
    """Write a NIfTI file under another of its endings: header, extensions and stored numbers stay as they are."""
    image = _open(source)
    _refuse_impossible_size(source, image)
    try:
        stored = np.asanyarray(image.dataobj.get_unscaled())
    except _READING_ERRORS as error:
        raise _damaged(source, error) from error
    kind = nibabel.Nifti2Image if isinstance(image.header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    header = kind.header_class.from_header(image.header)
    header.extensions.extend(image.header.extensions)
    copy = kind(stored, None, header)
    copy.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)  # given, they are not reckoned anew
    with replacing(path) as temporary, open_binary(temporary, "wb", _GZIP_LEVEL) as file:
        copy.to_stream(file)


def new_geometry(path: Path, array: NDArray[Any], affine: NDArray[np.float64]) -> Geometry:
    """Of a new NIfTI-1 file in millimetres."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return _geometry(path, image)


def in_memory(array: NDArray[Any], like: Geometry) -> bytes:
    """An uncompressed file."""
    content: bytes = _image_like(array, like).to_bytes()
    return content


def _voxels(image: Any, lean: bool) -> NDArray[Any]:
    stored = _stored(image)
    if stored.dtype.kind not in "biuf":
        return np.empty((*stored.shape[:1], 0), stored.dtype)  # refused by its type; its values do not matter
    wanted = stored.lean_type if lean else np.dtype(np.float64) if stored.scaled else stored.dtype.newbyteorder("=")
    if not _is_gzip(stored.path) and not stored.scaled and wanted == stored.dtype:
        array: NDArray[Any] = np.asanyarray(image.dataobj)  # a map of the file
        return array
    return stored.read(wanted)


def _stored(image: Any) -> Stored:
    proxy = image.dataobj
    path = Path(image.file_map["image"].filename)
    return Stored(path, int(proxy.offset), proxy.dtype, proxy.shape, float(proxy.slope), float(proxy.inter))


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> Any:
    require(path)
    try:
        return nibabel.load(path)
    except _READING_ERRORS as error:
        raise DataError(f"{path}: is not a readable NIfTI file ({_short(error)}); copy or convert it again") from error


def _geometry(path: Path, image: Any) -> Geometry:
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
    held = data.stat().st_size * (DEFLATE_LIMIT if _is_gzip(path) else 1) if data.exists() else claimed
    if claimed > held:
        raise DataError(f"{path}: is truncated: its header claims {claimed} bytes of voxels; copy it again")


def _image_like(array: NDArray[Any], like: Geometry) -> Any:
    """A NIfTI image with the header of the source, less what describes its voxels."""
    source = like.nifti_header
    if source is None:
        kind = nibabel.Nifti1Image if max(array.shape) < 2**15 else nibabel.Nifti2Image
        image = kind(array, like.affine, dtype=array.dtype)
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


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: is truncated or damaged ({_short(error)}); copy it again")


def _short(error: BaseException) -> str:
    """The last line of an error's message: image libraries put the reason there."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:200]
