"""A file of compressed pieces with a checksum for each: after them where each ends, a header in JSON, and a footer."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from swin_unetr.files import replacing

#: Bytes that a piece takes at most beyond what it holds.
OVERHEAD: int = numcodecs.blosc.MAX_OVERHEAD
#: Lengths of header and table, checksum of both, magic.
_FOOTER = struct.Struct("<QQI8s")
_MAGIC = b"SWSCAN1\n"
_TABLE = np.dtype([("end", "<u8"), ("checksum", "<u4")])
_CODEC = numcodecs.blosc.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.blosc.SHUFFLE)
# Threads of its own do not live through a fork, and several processes read crops anyway.
numcodecs.blosc.use_threads = False


def write_pieces(file: Path, pieces: Iterable[NDArray[Any]], header: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    table = []
    with replacing(file) as temporary, temporary.open("wb") as stream:
        for piece in pieces:
            raw = _CODEC.encode(np.ascontiguousarray(piece))
            stream.write(raw)
            table.append((stream.tell(), isal_zlib.crc32(raw)))
        tail = np.array(table, _TABLE).tobytes()
        words = json.dumps(header).encode()
        stream.write(tail + words)
        stream.write(_FOOTER.pack(len(words), len(tail), isal_zlib.crc32(tail + words), _MAGIC))


def read_header(file: Path) -> dict[str, Any]:
    """The header of a file that is as long as it was written.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what was written.
    """
    with file.open("rb", buffering=0) as stream:
        return _read_tail(stream)[0]


class Pieces:
    """An open file of pieces; closes at the end of a block of code. Every method raises `ValueError` for damage."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("rb", buffering=0)
        try:
            self._table = _read_tail(self._file)[1]
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Pieces:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._table)

    def raw(self, first: int, number: int) -> list[memoryview]:
        """Pieces that follow one another, in one read, compressed as they are."""
        rows = self._table[first : first + number]
        starts = [int(self._table["end"][first - 1]) if first else 0, *rows["end"].tolist()]
        whole = memoryview(_read_exactly(self._file, starts[0], starts[-1] - starts[0]))
        pieces = [whole[low - starts[0] : high - starts[0]] for low, high in pairwise(starts)]
        for at, (piece, checksum) in enumerate(zip(pieces, rows["checksum"].tolist(), strict=True), first):
            if isal_zlib.crc32(piece) != checksum:
                raise ValueError(f"block {at} has another checksum than when it was written")
        return pieces


def decode(piece: memoryview, into: NDArray[Any] | None = None) -> Any:
    """What a piece holds: in the array that is given, or as bytes."""
    return _CODEC.decode(piece, into)


def table_bytes(pieces: int) -> int:
    """Bytes of a file beside its pieces and its header."""
    return pieces * _TABLE.itemsize + _FOOTER.size


def _read_tail(file: FileIO) -> tuple[dict[str, Any], NDArray[Any]]:
    """Header and table."""
    size = file.seek(0, 2)
    if size < _FOOTER.size:
        raise ValueError("its end is missing")
    words, table, checksum, magic = _FOOTER.unpack(_read_exactly(file, size - _FOOTER.size, _FOOTER.size))
    start = size - _FOOTER.size - words - table
    if magic != _MAGIC or start < 0:
        raise ValueError("its end is missing")
    raw = _read_exactly(file, start, table + words)
    if isal_zlib.crc32(raw) != checksum:
        raise ValueError("its header has another checksum than when it was written")
    rows = np.frombuffer(raw[:table], _TABLE)
    if not len(rows) or rows["end"][-1] != start:
        raise ValueError("a part of it is missing")
    header: dict[str, Any] = json.loads(raw[table:])
    return header, rows


def _read_exactly(file: FileIO, start: int, length: int) -> bytes:
    file.seek(start)
    raw = file.read(length)
    if raw is None or len(raw) != length:
        raise ValueError("a part of it is missing")
    return raw
