"""A folder of preprocessed scans: a folder for each way of preprocessing, and in it a file for each content.

`way.json` describes the preprocessing, and `sources.jsonl` says what files on disk were found to hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.file_stamps import bytes_hash, file_stamps
from swin_unetr.files import is_partial, remove_partials, require, write_json
from swin_unetr.store.scan_file import SUFFIX, StoredScan, open_scan, write_scan
from swin_unetr.words import why_not_written

#: Changes when the files of a store do, or how scans are read.
_FORMAT = 3


class Store:
    """Scans that were preprocessed in one way.

    Args:
        root: folder of all ways; made when the first scan is written.
        way: everything that the result depends on beside the content of the files, as plain JSON.
        option: by which the user can choose another folder, for errors.
    """

    def __init__(self, root: Path, way: Mapping[str, Any], *, option: str) -> None:
        self._option = option
        described = {"format": _FORMAT, **way}
        self.folder = root / digest(described, size=6)
        try:
            if not (self.folder / "way.json").is_file():
                write_json(self.folder / "way.json", described)
        except OSError as error:
            raise self._refusal(error) from error
        self.sources = Sources(self.folder / "sources.jsonl")

    def find(self, content: str, case: str) -> StoredScan | None:
        """The scan of a content; None if it is missing or not complete.

        Args:
            content: name of what the source files hold.
            case: what errors call it.
        """
        return open_scan(self._file(content), case)

    def write(
        self,
        content: str,
        case: str,
        image: NDArray[np.float32],
        label: NDArray[Any] | None = None,
        places: Sequence[tuple[int, NDArray[np.int64]]] = (),
    ) -> StoredScan:
        """Write a scan, whole or not at all (`scan_file.write_scan`).

        Raises:
            ConfigError: the disk is full or cannot be written.
        """
        try:
            return write_scan(self._file(content), case, image, label, places)
        except OSError as error:  # no fault of the scan: all that follow would fail too
            raise self._refusal(error) from error

    @property
    def is_empty(self) -> bool:
        """Whether no scan was written yet."""
        return not any(file.suffix == SUFFIX and not is_partial(file) for file in self.folder.iterdir())

    def discard_partial(self) -> None:
        """Remove the half-written files of a killed run; only while no other process fills the store."""
        remove_partials(self.folder)

    def _file(self, content: str) -> Path:
        return self.folder / f"{content}{SUFFIX}"

    def _refusal(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self.folder}: {why_not_written(error)}, or choose another folder by {self._option}")


class Sources:
    """What files were found to hold when they were read before: one line for each; incomplete lines are ignored.

    A file counts as the same while its path and its stamp are (`swin_unetr.file_stamps`).

    Args:
        file: `.jsonl`, made when the first is noted.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = dict(_read_lines(file))
        self._lock = threading.Lock()

    def get(self, key: str) -> dict[str, Any] | None:
        """What was noted under a key of `source_key`."""
        return self._known.get(key)

    def note(self, key: str, files: Iterable[Path], facts: Mapping[str, Any]) -> None:
        """Remember what files hold, on disk at once."""
        values = {**facts, "files": [str(file) for file in files]}
        line = json.dumps({"key": key, **values}) + "\n"
        with self._lock:
            self._known[key] = values
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(line)


def source_key(files: Iterable[Path]) -> str:
    """Name under which the content of files, or of folders of them, is remembered: changes when their stamps do.

    Raises:
        DataError: a file is missing.
    """
    files = list(files)
    for file in files:
        require(file)
    try:
        return digest([(os.path.abspath(file), file_stamps(file)) for file in files])
    except OSError as error:
        raise _unreadable(error) from error


def files_hash(files: Iterable[Path]) -> str:
    """Name of what files hold, byte by byte and in this order, whatever their names.

    Raises:
        DataError: a file cannot be read.
    """
    try:
        return digest([bytes_hash(file) for file in files])
    except OSError as error:
        raise _unreadable(error) from error


def digest(values: Any, size: int = 16) -> str:
    """Hash of plain JSON values, in hexadecimal: two digits for each of `size` bytes."""
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=size).hexdigest()


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename}: cannot be read ({error.strerror}); check the path")


def _read_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
            yield values.pop("key"), values
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # a run was killed while it wrote this
