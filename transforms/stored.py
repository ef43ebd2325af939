"""Reads the voxels of a file into memory, compressed or not, through a buffer: never a second copy of the whole.

It handles bytes only; `transforms.io` reads the header, which says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from isal import igzip
from numpy.typing import DTypeLike, NDArray

#: The first bytes of a gzip file.
_GZIP = b"\x1f\x8b"
#: Bytes that are read, converted and scaled at once.
_BUFFER = 4 << 20


@dataclass(frozen=True)
class Stored:
    """Where and how the voxels of a file lie.

    Attributes:
        path: of the file that holds the voxels.
        offset: bytes before the first one.
        dtype: of the stored numbers, with their byte order.
        shape: in Fortran order: the first axis is the fastest.
        slope: stored numbers times this,
        inter: plus this are the values.
    """

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    slope: float
    inter: float

    @property
    def scaled(self) -> bool:
        """Whether stored numbers are not the values themselves."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def lean_type(self) -> np.dtype[Any]:
        """The narrowest type that holds the values as well as float32: the stored one, or float32."""
        if self.scaled or self.dtype.kind not in "biu" or self.dtype.itemsize > 4:
            return np.dtype(np.float32)
        native: np.dtype[Any] = self.dtype.newbyteorder("=")
        return native

    def read(self, dtype: DTypeLike, *, to_the_end: bool = True) -> NDArray[Any]:
        """The values.

        Args:
            dtype: type of the result; scaling is calculated in float64.
            to_the_end: read what follows the voxels too: gzip's checksum is at the end.

        Raises:
            OSError, EOFError, IsalError: a file that is truncated or damaged.
        """
        with open_binary(self.path) as stream:
            _skip(stream, self.offset)
            array = np.empty(self.shape, dtype, order="F")
            flat = array.reshape(-1, order="F")
            buffer = memoryview(bytearray(min(_BUFFER, max(flat.size, 1) * self.dtype.itemsize)))
            step = len(buffer) // self.dtype.itemsize
            with np.errstate(over="ignore", invalid="ignore"):  # what does not fit becomes infinite; others report it
                for first in range(0, flat.size, step):
                    part = flat[first : first + step]
                    _fill(stream, buffer[: part.size * self.dtype.itemsize])
                    numbers = np.frombuffer(buffer, self.dtype, count=part.size)
                    part[...] = numbers * np.float64(self.slope) + np.float64(self.inter) if self.scaled else numbers
            while to_the_end and stream.read(1 << 20):
                pass
        return array


@contextmanager
def open_binary(path: Path, mode: str = "rb", level: int = 2) -> Iterator[IO[bytes]]:
    """A file of bytes, through ISA-L's gzip: for reading if its content is gzip's, for writing if its name ends in .gz.

    What is written depends on the content alone: no file name and no time go into gzip's header.

    Args:
        path: the file.
        mode: "rb" or "wb".
        level: of compression, 0..3.
    """
    compressed = is_gzip(path) if mode == "rb" else path.suffix.lower() == ".gz"
    with path.open(mode) as file:
        if not compressed:
            yield cast("IO[bytes]", file)
            return
        with igzip.IGzipFile("", mode, compresslevel=level, fileobj=file, mtime=0) as stream:
            yield stream


def is_gzip(path: Path) -> bool:
    """Whether the content of a file is gzip's, whatever its name."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def _skip(stream: IO[bytes], count: int) -> None:
    while count:
        got = len(stream.read(min(count, _BUFFER)))
        if not got:
            raise EOFError("it ends before its voxels begin")
        count -= got


def _fill(stream: IO[bytes], target: memoryview) -> None:
    done = 0
    while done < len(target):
        part = stream.read(len(target) - done)
        if not part:
            raise EOFError("it ends before its last voxel")
        target[done : done + len(part)] = part
        done += len(part)
