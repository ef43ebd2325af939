"""What a NIfTI header says beyond the grid that it gives, and what it says before a library mends it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from swin_unetr.survey.facts import NiftiFacts
from transforms.geometry import Geometry
from transforms.stored import open_binary

_READING_ERRORS: tuple[type[Exception], ...] = (
    *(OSError, EOFError, struct.error, zlib.error),
    cast("type[Exception]", isal_zlib.error),
)
#: Length of the header, and where in it stand: dim, bitpix, pixdim, magic; format of the numbers.
_NIFTI_1, _NIFTI_2 = 348, 540
_LAYOUTS = {_NIFTI_1: ("h", 40, 72, "f", 76, 344), _NIFTI_2: ("q", 16, 14, "d", 104, 4)}


@dataclass(frozen=True)
class RawHeader:
    """Fields as they stand in the file."""

    #: 1, 2, or 0 for Analyze.
    version: int
    #: Header and voxels in two files.
    pair: bool
    shape: tuple[int, ...]
    bytes_per_voxel: float
    pixdim: tuple[float, float, float]

    @property
    def claimed_bytes(self) -> float:
        """Of the voxels, by shape and type."""
        return float(np.prod(np.abs(np.array(self.shape, np.float64)))) * self.bytes_per_voxel


def read_raw(path: Path) -> RawHeader | None:
    """The header of a NIfTI or Analyze file; none where it is none or cannot be read."""
    try:
        with open_binary(path) as stream:
            start = stream.read(_NIFTI_2)
        for order in "<>":
            (length,) = struct.unpack_from(f"{order}i", start)
            if length in _LAYOUTS:
                return _parse(start, order, length)
    except _READING_ERRORS:
        pass
    return None


def _parse(start: bytes, order: str, length: int) -> RawHeader:
    integer, dim_at, bits_at, real, pixdim_at, magic_at = _LAYOUTS[length]
    dim = struct.unpack_from(f"{order}8{integer}", start, dim_at)
    (bits,) = struct.unpack_from(f"{order}h", start, bits_at)
    _, x, y, z = struct.unpack_from(f"{order}4{real}", start, pixdim_at)
    magic = start[magic_at : magic_at + 3]
    version = {b"ni1": 1, b"n+1": 1, b"ni2": 2, b"n+2": 2}.get(magic, 0)
    return RawHeader(version, magic[:2] != b"n+", tuple(dim[1 : 1 + min(max(dim[0], 0), 7)]), bits / 8, (x, y, z))


def nifti_facts(raw: RawHeader, geometry: Geometry) -> NiftiFacts | None:
    """Codes, units and how far qform and sform lie apart; none for what is no NIfTI."""
    header = geometry.nifti_header
    if header is None:
        return None
    (qform, qform_code), (sform, sform_code) = header.get_qform(coded=True), header.get_sform(coded=True)
    apart = None if qform is None or sform is None else _apart_mm(geometry, qform, sform)
    return NiftiFacts(
        version=raw.version,
        qform_code=int(qform_code),
        sform_code=int(sform_code),
        forms_apart_mm=apart,
        units=str(header.get_xyzt_units()[0]),
        pixdim=raw.pixdim,
    )


def _apart_mm(geometry: Geometry, one: NDArray[Any], other: NDArray[Any]) -> float:
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(geometry.shape) - 1)
    apart = corners @ (one - other)[:3, :3].T + (one - other)[:3, 3]
    return round(float(np.linalg.norm(apart, axis=1).max()), 4)
