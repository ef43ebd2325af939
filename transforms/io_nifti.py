"""NIfTI (and Analyze) files: headers through nibabel, voxels through `transforms.stored`. Part of `transforms.io`.

Where voxels lie is decided by `transforms.nifti_grid`, not by nibabel's defaults.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from transforms.geometry import Geometry, Volume
from transforms.nifti_grid import NOWHERE, NoGridError, place
from transforms.note import Note
from transforms.size_check import DEFLATE_LIMIT, refuse_stand_in
from transforms.stored import Stored, is_gzip, open_binary
from transforms.verdict import FileKind, RefusedError, Verdict

#: Level of ISA-L's gzip, 0..3, for writing: level 3 makes label maps 4 % smaller and takes six times as long.
_GZIP_LEVEL = 2
#: NIfTI header extension for free text.
_COMMENT = 6
#: Code of the header's intent for a map of labels.
_LABELS = 1002
#: Version by the length of the header: class of a single file, and of a pair.
_VERSIONS = {
    348: (nibabel.Nifti1Header, nibabel.nifti1.Nifti1PairHeader),
    540: (nibabel.Nifti2Header, nibabel.nifti2.Nifti2PairHeader),
}
#: Fields that place voxels: they are copied from a source unchanged.
_GRID_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z", "xyzt_units"),
)

_READING_ERRORS: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, OverflowError, TypeError),
    *(zlib.error, cast("type[Exception]", isal_zlib.error), ImageFileError, HeaderDataError),
)
#: nibabel logs what it corrects in a header; the header is judged here.
_QUIET = logging.Logger("nibabel headers", logging.CRITICAL)


@dataclass(frozen=True, eq=False)
class _File:
    """A file, opened.

    Attributes:
        path: as it was given.
        header: as it is in the file; None for Analyze.
        shape: of the voxels, as many axes as the header has.
        base: affine of the voxel size alone.
        stored: where the voxels are.
        comments: texts in the header's extensions.
    """

    path: Path
    header: Any
    shape: tuple[int, ...]
    base: NDArray[np.float64]
    stored: Stored
    comments: tuple[str, ...] = ()

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        x, y, z = (*self.shape[:3], 1, 1)[:3]
        return x, y, z


def verdict(path: Path) -> Verdict:
    """See `transforms.io.read_verdict`."""
    return _verdict(_open(path))


def read(path: Path, *, lean: bool) -> Volume:
    """Voxels as stored, scaled ones in float64; `lean`: in the narrowest type that float32 allows."""
    file = _open(path)
    found = _verdict(file)
    try:
        array = _voxels(file.stored, lean)
    except MemoryError as error:
        raise DataError(f"{path}: its {file.shape} voxels do not fit into memory") from error
    except _READING_ERRORS as error:
        raise _damaged(path, error) from error
    array = array.reshape((*file.spatial_shape, found.channels), order="F")
    return Volume(np.moveaxis(array, -1, 0), found.geometry, found.notes)


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
    file = _open(source)
    _verdict(file)
    stored = file.stored
    try:
        numbers = Stored(stored.path, stored.offset, stored.dtype, stored.shape, 1.0, 0.0).read(stored.dtype)
    except _READING_ERRORS as error:
        raise _damaged(source, error) from error
    copy = _with_header(numbers, file.header)
    copy.header.extensions.extend(file.header.extensions)
    copy.header.set_slope_inter(stored.slope, stored.inter)  # otherwise nibabel would compute them again
    with replacing(path) as temporary, open_binary(temporary, "wb", _GZIP_LEVEL) as stream:
        copy.to_stream(stream)


def new_geometry(array: NDArray[Any], affine: NDArray[np.float64]) -> Geometry:
    """The geometry of a new NIfTI-1 file in millimetres."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    x, y, z = (*array.shape[:3], 1, 1)[:3]
    return Geometry((x, y, z), np.array(image.affine, np.float64), image.header.copy())


def in_memory(array: NDArray[Any], like: Geometry) -> bytes:
    """An uncompressed file."""
    content: bytes = _image_like(array, like).to_bytes()
    return content


def _verdict(file: _File) -> Verdict:
    """What an opened file is; refuses what no command can use."""
    path, shape = file.path, file.shape
    in_words = " x ".join(map(str, shape))
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if not shape or min(shape) < 1 or len(shape) > 4:
        raise RefusedError(f"{path}: has shape {in_words}; a 3-D or 4-D image of numbers is wanted", "wrong-dimensions")
    dtype = file.stored.dtype
    if dtype.kind == "V":
        words = f"is a colour picture ({'RGBA' if dtype.itemsize == 4 else 'RGB'}, {in_words})"
        raise RefusedError(f"{path}: {words}; an image of numbers is wanted, one for each voxel", "picture")
    if dtype.kind == "c":
        raise RefusedError(f"{path}: holds complex numbers ({dtype.name}, {in_words}); save their magnitude", "picture")
    if len(shape) < 3:
        raise RefusedError(f"{path}: is a picture of {in_words} pixels; a 3-D scan is wanted", "picture")
    _refuse_impossible_size(file)
    notes: tuple[Note, ...] = ()
    affine = file.base
    if file.header is not None:
        try:
            affine, notes = place(file.header, file.spatial_shape, file.base)
        except NoGridError as error:
            raise RefusedError(f"{path}: {error}", "no-grid") from error
    elif not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise RefusedError(f"{path}: {NOWHERE}", "no-grid")
    names = _label_names(file.comments)
    return Verdict(
        path=path,
        kind=_kind(file.header, shape, bool(names)),
        geometry=Geometry(file.spatial_shape, affine, file.header),
        channels=shape[3] if len(shape) > 3 else 1,
        dtype=file.stored.lean_type,
        notes=(*_misnamed(file.stored.path), *notes),
        label_names=names,
    )


def _kind(header: Any, shape: tuple[int, ...], named: bool) -> FileKind:
    """From the header. ITK writes seconds and a step of 1 for any fourth axis, so these do not mean time."""
    if header is None:
        return "scan"
    step, unit = float(header["pixdim"][4]), int(header["xyzt_units"]) & 0x38
    if len(shape) > 3 and shape[3] > 1 and unit in (8, 16, 24) and step > 0 and step != 1:
        return "time series"
    return "label map" if named or int(header["intent_code"]) == _LABELS else "scan"


def _label_names(comments: Iterable[str]) -> tuple[tuple[int, str], ...]:
    """Names by label value that `transforms.io.write_labels` kept."""
    for text in comments:
        try:
            return tuple((int(value), str(name)) for value, name in json.loads(text)["labels"].items())
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # somebody else's
    return ()


def _misnamed(path: Path) -> Iterator[Note]:
    compressed = is_gzip(path)
    if compressed != (path.suffix.lower() == ".gz"):
        words = "is compressed, although its name does not end in .gz"
        yield Note("misnamed", words if compressed else "is not compressed, although its name ends in .gz")


def _voxels(stored: Stored, lean: bool) -> NDArray[Any]:
    wanted = stored.lean_type if lean else np.dtype(np.float64) if stored.scaled else stored.dtype.newbyteorder("=")
    if not is_gzip(stored.path) and not stored.scaled and wanted == stored.dtype:
        return np.memmap(stored.path, stored.dtype, "c", stored.offset, stored.shape, "F")
    return stored.read(wanted)


def _open(path: Path) -> _File:
    require(path)
    try:
        refuse_stand_in(path)
        files = nibabel.Nifti1Pair.filespec_to_file_map(path) if _is_pair(path) else {}
        head = Path(files["header"].filename) if files else path
        with open_binary(head) as stream:
            start = stream.read(max(_VERSIONS))
        length = next((of for of in _VERSIONS if of in (_integer(start, "little"), _integer(start, "big"))), None)
        magic = start[344:347] if length == 348 else start[4:7]
        if length is None or magic not in (b"ni1", b"n+1", b"ni2", b"n+2"):
            if files:
                return _open_analyze(path)
            raise ValueError("its first bytes are not those of a NIfTI header")
        with open_binary(head) as stream:
            header = _VERSIONS[length][bool(files)].from_fileobj(stream, check=False)
        checked = header.copy()
        checked.check_fix(_QUIET)
        slope, inter = checked.get_slope_inter()
        stored = Stored(
            path=Path(files["image"].filename) if files else path,
            # Some programs leave it out; nibabel would take the header itself for voxels, others what follows it.
            offset=int(checked.get_data_offset()) or (0 if files else int(checked.single_vox_offset)),
            dtype=checked.get_data_dtype(),
            shape=tuple(map(int, checked.get_data_shape())),
            slope=1.0 if slope is None else slope,
            inter=0.0 if inter is None else inter,
        )
        return _File(path, header, stored.shape, checked.get_base_affine(), stored, tuple(_comments(header)))
    except _READING_ERRORS as error:
        raise DataError(f"{path}: is not a readable NIfTI file ({_short(error)}); copy or convert it again") from error


def _open_analyze(path: Path) -> _File:
    image = nibabel.load(path)
    proxy = image.dataobj
    place = Path(image.file_map["image"].filename)
    stored = Stored(place, int(proxy.offset), proxy.dtype, proxy.shape, float(proxy.slope), float(proxy.inter))
    return _File(path, None, proxy.shape, np.array(image.affine, np.float64), stored)


def _is_pair(path: Path) -> bool:
    return path.suffix.lower() in (".hdr", ".img")


def _integer(start: bytes, order: Any) -> int:
    return int.from_bytes(start[:4], order)


def _comments(header: Any) -> Iterator[str]:
    for extension in header.extensions:
        try:
            yield extension.text.rstrip("\0")
        except (ValueError, AttributeError):
            continue  # no text


def _refuse_impossible_size(file: _File) -> None:
    """Refuse a header that claims more than the file can hold, before memory is taken for it."""
    data = file.stored.path
    if not data.exists():
        raise DataError(f"{file.path}: has no voxels: {data.name} is missing beside it; copy it again")
    claimed = math.prod(file.shape) * file.stored.dtype.itemsize
    most = data.stat().st_size * DEFLATE_LIMIT
    if claimed > (most if is_gzip(data) else data.stat().st_size - file.stored.offset):
        words = f"is truncated: its header claims {claimed} bytes of voxels"
        raise RefusedError(
            f"{file.path}: {words}; copy it again", "impossible-size" if claimed > most else "unreadable"
        )


def _image_like(array: NDArray[Any], like: Geometry) -> Any:
    """A NIfTI image with the header of the source, without the fields that describe its values."""
    source = like.nifti_header
    if source is None:
        kind = nibabel.Nifti1Image if max(array.shape) < 2**15 else nibabel.Nifti2Image
        image = kind(array, like.affine, dtype=array.dtype)
        image.header.set_xyzt_units("mm")
        return image
    image = _with_header(array, source)
    header = image.header
    header.set_intent("none")
    for field in ("cal_min", "cal_max", "descrip", "aux_file"):
        header[field] = type(header)()[field]
    if array.ndim > 3:
        header["pixdim"][4] = 1  # channels, whatever the fourth axis of the source was
    return image


def _with_header(array: NDArray[Any], source: Any) -> Any:
    """An image with the fields of a header that place voxels, byte for byte, also those that nibabel would correct.

    A pair (.hdr, .img) becomes a single file; the version of the format is kept.
    """
    kind = nibabel.Nifti2Image if isinstance(source, nibabel.Nifti2Header) else nibabel.Nifti1Image
    header = kind.header_class.from_header(source, check=False)
    header.extensions.clear()
    header.set_data_dtype(array.dtype)
    header["magic"], header["vox_offset"] = kind.header_class()["magic"], 0
    header["scl_slope"] = header["scl_inter"] = np.nan
    image = kind(array, None, header)
    for field in _GRID_FIELDS:
        image.header[field] = source[field]
    image.header["pixdim"][:4] = source["pixdim"][:4]
    return image


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: is truncated or damaged ({_short(error)}); copy it again")


def _short(error: BaseException) -> str:
    """The last line of an error's message: image libraries put the reason there."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:200]
