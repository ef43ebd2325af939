"""What the files of a scan hold: a fingerprint of the voxels, remembered so that files are read once."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from swin_unetr.config import IntensityConfig
from swin_unetr.datasets import Case
from swin_unetr.errors import DataError
from transforms.content import content_hash
from transforms.geometry import Volume

#: Share of the voxels other than 0 that equal their neighbour. Label maps have 0.83 and more (117 classes at 3 mm 0.90,
#: hippocampi 0.88), scans 0.25 and less (CT of 8 bits 0.23, MR 0.07).
_LABEL_LIKE = 0.6


@dataclass(frozen=True, kw_only=True)
class Content:
    """What was found in the files of a scan."""

    #: 32 hexadecimal digits, the same for the same voxels in any format (`transforms.content`).
    hash: str
    channels: int
    #: Why it cannot be used; none where it can.
    problem: str | None = None


def examine(volume: Volume, intensity: IntensityConfig) -> Content:
    """Take the fingerprint of a scan and see whether it shows anything.

    Args:
        volume: float32, C x X x Y x Z as stored.
        intensity: with "hu_window" a scan that shows nothing in the window is empty.
    """
    array = volume.array
    low, high = float(array.min()), float(array.max())
    problem = None
    if low == high:
        problem = f"is constant: every voxel is {low:g}"
    elif intensity.scheme == "hu_window" and (intensity.window[0] >= high or intensity.window[1] <= low):
        bounds = "{:g}..{:g}".format(*intensity.window)
        problem = f"is empty: its values {low:g}..{high:g} lie outside the window {bounds}"
    elif low >= 0 and _is_label_map(array):
        problem = f"is a label map, not a scan: even areas of whole numbers up to {high:g}"
    return Content(hash=content_hash(volume), channels=array.shape[0], problem=problem)


def _is_label_map(array: NDArray[np.float32]) -> bool:
    if not np.array_equal(array, np.rint(array)):
        return False
    here, next_to_it = array[:, :-1], array[:, 1:]
    shown = here != 0
    return bool(shown.any() and (here == next_to_it)[shown].mean() > _LABEL_LIKE)


class Contents:
    """Contents of files that were read before, in a file with a line for each; torn lines are no matter.

    A file counts as the same while path, size and time of its last change are.

    Args:
        file: `.jsonl`, made when the first content is noted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = dict(_read_lines(file))
        self._lock = threading.Lock()

    def get(self, key: str) -> Content | None:
        """What was noted under a key of `source_key`."""
        return self._known.get(key)

    def note(self, key: str, case: Case, content: Content) -> None:
        """Remember a content, on disk at once."""
        images = [str(image) for image in case.images]
        line = json.dumps({"key": key, **asdict(content), "images": images}) + "\n"
        with self._lock:
            self._known[key] = content
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(line)


def source_key(case: Case) -> str:
    """Name under which the content of a scan's files is remembered.

    Raises:
        DataError: a file is missing.
    """
    stats: list[tuple[str, int, int]] = []
    try:
        for image in case.images:
            for file in sorted(image.iterdir()) if image.is_dir() else [image]:
                stat = file.stat()
                stats.append((os.path.abspath(file), stat.st_size, stat.st_mtime_ns))
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check the path") from error
    return hashlib.blake2b(json.dumps(stats).encode(), digest_size=16).hexdigest()


def _read_lines(file: Path) -> Iterator[tuple[str, Content]]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            content = Content(hash=values["hash"], channels=values["channels"], problem=values["problem"])
            yield values["key"], content
        except (ValueError, KeyError, TypeError):
            continue  # a run was killed while it wrote this
