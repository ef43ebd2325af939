"""One file of the new data set: from which files it is made, and how."""

from __future__ import annotations

import filecmp
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from swin_unetr.datasets.listing import image_suffix
from swin_unetr.errors import DataError
from swin_unetr.files import replacing
from swin_unetr.tasks import Task
from transforms.geometry import Volume, require_same_geometry
from transforms.io import read_file, read_geometry, read_labels, read_verdict, rewrite_nifti, write_volume
from transforms.labels import check_labels
from transforms.slicer import is_segmentation, on_grid_of

How = Literal["kept", "linked", "copied", "written"]
#: An affine that went through float32, as NIfTI has it, moves no corner further.
_TOLERANCE_MM = 1e-3


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A file to be made."""

    target: Path
    #: One file, or one per channel that are joined.
    sources: tuple[Path, ...]
    #: The channel to take from the source's fourth axis. If None, all.
    channel: int | None = None
    #: New label values by old ones; empty leaves the voxels as they are.
    values: tuple[tuple[int, int], ...] = ()
    #: For a label map, the scan on whose grid it belongs; a segmentation of 3D Slicer holds only a box of it.
    scan: Path | None = None
    #: For a label map, what its voxels mean. If None, they may hold any value.
    task: Task | None = None


def make(piece: Piece, *, link: bool) -> How:
    """Make the file, unless it exists already with the same voxels and affine.

    Args:
        piece: the file to make.
        link: whether a file that stays as it is becomes a hard link where the disk allows it, rather than a copy.

    Raises:
        DataError: a source that cannot be read, channels on different grids, or unknown label values.
        OSError: the target cannot be written.
    """
    first, target = piece.sources[0], piece.target
    if piece.task is not None:
        check_labels(np.unique(_labels(piece).array), piece.task, first)
    as_it_is = len(piece.sources) == 1 and piece.channel is None and not piece.values
    if as_it_is and image_suffix(first) == image_suffix(target) and not _is_misnamed(first):
        return _same_file(first, target, link)
    if target.exists() and _equal(target, _volume(piece)):
        return "kept"
    if not (as_it_is and rewrite_nifti(first, target)):
        write_volume(target, _volume(piece))
    return "written"


def _is_misnamed(path: Path) -> bool:
    """Whether its content is not what its ending says, so that other programs refuse it."""
    return any(note.code == "misnamed" for note in read_verdict(path).notes)


def _same_file(source: Path, target: Path, link: bool) -> How:
    if target.exists():
        if source.samefile(target) or filecmp.cmp(source, target, shallow=False):
            return "kept"
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source.resolve(), target)
            return "linked"
        except OSError:
            pass  # another disk, or one without links
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    return "copied"


def _volume(piece: Piece) -> Volume:
    if piece.values:
        return _renumbered(piece)
    volumes = [read_file(path) for path in piece.sources]
    first = volumes[0]
    if piece.scan is not None and is_segmentation(piece.sources[0]):
        return on_grid_of(first, read_geometry(piece.scan))
    for path, volume in zip(piece.sources[1:], volumes[1:], strict=True):
        require_same_geometry(path, volume.geometry, piece.sources[0], first.geometry)
    array = np.concatenate([volume.array for volume in volumes]) if len(volumes) > 1 else first.array
    return Volume(array if piece.channel is None else array[piece.channel][None], first.geometry)


def _labels(piece: Piece) -> Volume:
    return read_labels(piece.sources[0], like=None if piece.scan is None else read_geometry(piece.scan))


def _renumbered(piece: Piece) -> Volume:
    volume = _labels(piece)
    known = dict(piece.values)
    table = np.zeros(max(known) + 1, np.min_scalar_type(max(known.values())))
    table[list(known)] = list(known.values())
    return replace(volume, array=table[volume.array])


def _equal(target: Path, volume: Volume) -> bool:
    try:
        there = read_file(target)
    except DataError:
        return False
    same = there.array.dtype == volume.array.dtype and np.array_equal(there.array, volume.array, equal_nan=True)
    return same and there.geometry.difference(volume.geometry, _TOLERANCE_MM) is None
