"""A preprocessed scan on disk as compressed blocks, so that a crop reads little more than its own voxels.

One file per scan: blocks of at most 32 x 32 x 32 voxels, those of a row along Z in one piece, each block's label behind
its image; then voxels of each class.

Images are int16 in steps of 1/65534 of the channel's range: 0.006 HU in a window of 425 HU, so that values are off by
0.003 HU at most, where float16 is off by 0.1 HU and bfloat16 by 0.8 HU for the same two bytes. LZ4 behind a shuffle of
bytes leaves 1.2 bytes of them. Measured on crops of 96 x 96 x 96 out of a CT, on a core that others used too: 14 to
20 ms, against 9 ms without compression, 28 to 45 ms with zstd (0.9 bytes), 20 and 54 ms from blosc2's arrays with the
same two codecs, 136 to 241 ms from zarr. Reads, not a memory map: what is mapped counts as the process's memory, and
grows with every epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.config import Triple
from swin_unetr.errors import DataError
from swin_unetr.store.grid import edge_of, grid_of, overlaps
from swin_unetr.store.pieces import OVERHEAD, Pieces, decode, read_header, table_bytes, write_pieces

#: Suffix of the files.
SUFFIX = ".scan"
#: int16 values in use, either side of 0.
_LEVELS = 32767
#: Most bytes of a header, and most further bytes of it for each class whose voxels are listed.
_HEADER_BYTES, _CLASS_BYTES = 4096, 22


@dataclass(frozen=True, kw_only=True)
class StoredScan:
    """A preprocessed scan in a file of blocks. Reads from disk at every call, and keeps nothing.

    Attributes:
        file: where it is.
        case: what errors call it.
        channels: C of the image.
        shape: voxels along X, Y, Z in RAS.
        block: voxels of a block along X, Y, Z.
        scale: per channel, value of one step of the stored integers.
        offset: per channel, value of the stored 0.
        label_channels: C of the label; 0 if there is no label.
        label_type: of its values, a name that numpy knows, such as "uint8".
        class_voxels: how many voxels each list of places is a sample of (`class_places`).
    """

    file: Path
    case: str
    channels: int
    shape: Triple
    block: Triple
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    label_channels: int = 0
    label_type: str = "uint8"
    class_voxels: tuple[int, ...] = ()

    def read(self, start: Sequence[int], size: Sequence[int]) -> NDArray[np.float32]:
        """A crop of the image; what lies outside the scan is 0.

        Args:
            start: first voxel along X, Y, Z; may be negative.
            size: voxels along X, Y, Z.

        Returns:
            C x X x Y x Z.

        Raises:
            DataError: the file has gone or is damaged.
        """
        image = np.zeros((self.channels, *size), np.float32)
        self._read(start, image, None)
        return image

    def crop(self, start: Sequence[int], size: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """A crop of image and label, as `read` gives that of the image."""
        image = np.zeros((self.channels, *size), np.float32)
        label = np.zeros((self.label_channels, *size), self.label_type)
        self._read(start, image, label)
        return image, label

    def places(self, which: int) -> NDArray[np.int64]:
        """Voxels of a class as flat indices of X x Y x Z, in ascending order: all of them or an even sample.

        Args:
            which: position in the list that was written (`class_places`); negative ones count from its end.
        """
        with self._open() as pieces:
            first = len(pieces) - len(self.class_voxels)
            (piece,) = pieces.raw(first + range(len(self.class_voxels))[which], 1)
        return np.frombuffer(decode(piece), np.int64)

    def _read(self, start: Sequence[int], image: NDArray[np.float32], label: NDArray[Any] | None) -> None:
        """Fill a crop of zeros with what the blocks have of it."""
        xs, ys, zs = (overlaps(*axis) for axis in zip(start, image.shape[1:], self.shape, self.block, strict=True))
        if not (xs and ys and zs):
            return
        scale, offset = (np.asarray(values, np.float32)[:, None, None, None] for values in (self.scale, self.offset))
        stored = np.empty((self.channels, *self.block), np.int16)
        stored_label = np.empty((self.label_channels, *self.block), self.label_type)
        grid, kinds = grid_of(self.shape, self.block), 2 if self.label_channels else 1
        with self._open() as pieces:
            for x, y in product(xs, ys):
                first = kinds * ((x.block * grid[1] + y.block) * grid[2] + zs[0].block)
                row = pieces.raw(first, kinds * len(zs))
                for at, z in enumerate(zs):
                    here = (slice(None), x.in_block, y.in_block, z.in_block)
                    there = (slice(None), x.in_crop, y.in_crop, z.in_crop)
                    decode(row[kinds * at], stored)
                    np.multiply(stored[here], scale, out=image[there])
                    image[there] += offset
                    if label is not None and self.label_channels:
                        label[there] = decode(row[kinds * at + 1], stored_label)[here]

    @contextmanager
    def _open(self) -> Iterator[Pieces]:
        again = "delete that file if it is there, and start again: it is made again"
        try:
            with Pieces(self.file) as pieces:
                yield pieces
        except OSError as error:
            raise DataError(f"{self.case}: {self.file} cannot be read ({error.strerror}); {again}") from error
        except (ValueError, RuntimeError) as error:
            raise DataError(f"{self.case}: {self.file} is damaged ({error}); {again}") from error


def open_scan(file: Path, case: str) -> StoredScan | None:
    """A scan that was written before; None if there is no such file, or only a part of it.

    Only the end of the file is read, which describes the rest.
    """
    try:
        header = read_header(file)
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in header.items()
        }
        return StoredScan(file=file, case=case, **values)
    except (OSError, ValueError, TypeError):
        return None


def write_scan(
    file: Path,
    case: str,
    image: NDArray[np.float32],
    label: NDArray[Any] | None = None,
    places: Sequence[tuple[int, NDArray[np.int64]]] = (),
) -> StoredScan:
    """Write a preprocessed scan, whole or not at all.

    Args:
        file: ends in `SUFFIX`.
        case: what errors call it.
        image: C x X x Y x Z, finite.
        label: C x X x Y x Z, of a type of whole numbers.
        places: voxels of each class: how many there are, and flat indices of all or some.

    Raises:
        OSError: the disk is full, or cannot be written.
    """
    channels, length, width, height = image.shape
    low = image.min(axis=(1, 2, 3), keepdims=True)
    scale = np.maximum((image.max(axis=(1, 2, 3), keepdims=True) - low) / (2 * _LEVELS), np.finfo(np.float32).tiny)
    offset = low.astype(np.float64) + _LEVELS * scale.astype(np.float64)
    scan = StoredScan(
        file=file,
        case=case,
        channels=channels,
        shape=(length, width, height),
        block=(edge_of(length), edge_of(width), edge_of(height)),
        scale=tuple(scale.ravel().tolist()),
        offset=tuple(offset.ravel().tolist()),
        label_channels=0 if label is None else len(label),
        label_type="uint8" if label is None else label.dtype.name,
        class_voxels=tuple(number for number, _ in places),
    )

    def pieces() -> Iterator[NDArray[Any]]:
        for index in np.ndindex(*grid_of(scan.shape, scan.block)):
            x, y, z = (slice(at * edge, (at + 1) * edge) for at, edge in zip(index, scan.block, strict=True))
            steps = np.rint((image[:, x, y, z] - low) / scale) - _LEVELS
            yield _whole(steps.clip(-_LEVELS, _LEVELS).astype(np.int16), scan.block)
            if label is not None:
                yield _whole(label[:, x, y, z], scan.block)
        for _, flat in places:
            yield flat.astype(np.int64)

    header = {key: value for key, value in asdict(scan).items() if key not in ("file", "case")}
    write_pieces(file, pieces(), header)
    return scan


def stored_bytes(
    channels: int,
    shape: Sequence[int],
    label_channels: int = 0,
    places: int = 0,
    label_bytes: int = 1,
    classes: int = 0,
) -> int:
    """Size of the file of a scan at most: as if nothing could be compressed.

    Args:
        channels: of the image.
        shape: voxels along X, Y, Z.
        label_channels: of the label; 0 if there is no label.
        places: voxels that are listed.
        label_bytes: of a voxel of one channel of the label.
        classes: whose voxels are listed.
    """
    edges = [edge_of(length) for length in shape]
    blocks = math.prod(math.ceil(length / edge) for length, edge in zip(shape, edges, strict=True))
    pieces = 2 * blocks if label_channels else blocks
    voxels = blocks * math.prod(edges)
    held: int = (2 * channels + label_bytes * label_channels) * voxels + 8 * places
    # The places of a class are a piece of their own, and the header says how many voxels the class has.
    pieces += classes
    return _HEADER_BYTES + classes * _CLASS_BYTES + table_bytes(pieces) + held + pieces * OVERHEAD


def _whole(part: NDArray[Any], block: Triple) -> NDArray[Any]:
    """A block of full size; those at the far faces hold less."""
    if part.shape[1:] == block:
        return part
    whole = np.zeros((len(part), *block), part.dtype)
    length, width, height = part.shape[1:]
    whole[:, :length, :width, :height] = part
    return whole
