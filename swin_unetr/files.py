"""Writes files so that no half-written file ever has a final name."""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from swin_unetr.errors import ConfigError, DataError

_PARTIAL = ".partial-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and is removed when not.

    The suffixes of `path` are kept, since image libraries recognise the format by them. An earlier file at `path` is
    there until the very moment it is replaced. Content and name are on the disk when this returns.

    Raises:
        OSError: it cannot be written; names the file, whatever the system does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_PARTIAL}{secrets.token_hex(4)}-{path.name}")
    try:
        temporary.touch(exist_ok=False)
        mode = stat.S_IMODE(temporary.stat().st_mode)  # as the umask and the folder have it
        temporary.unlink()  # a block that writes nothing must not pass for one that wrote an empty file
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if stat.S_IMODE(temporary.stat().st_mode) != mode:  # some libraries let nobody else read what they write
            with suppress(PermissionError):  # some network disks know no modes
                temporary.chmod(mode)
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # the error of a full disk names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def require(path: Path) -> None:
    """Refuse a path where nothing is, or where nobody may look.

    Raises:
        DataError: names it.
    """
    try:
        there = path.exists()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check your permissions") from error
    if not there and path.is_symlink():
        raise DataError(f"{path}: is a link that leads nowhere ({os.readlink(path)}); mend it, or fetch the file")
    if not there:
        raise DataError(f"{path}: no such file or folder; check the path")


def real_path(path: Path) -> Path:
    """An absolute path with links followed; a path with links in a loop, which `Path.resolve` refuses, as it is."""
    return Path(os.path.realpath(path))


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: a power cut would else undo a renaming that is seconds old."""
    if os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network disks do not flush folders
            raise
    finally:
        os.close(descriptor)


def keep_foreign(folder: Path, names: Iterable[str], *, record: str, keys: Iterable[str]) -> None:
    """Refuse a folder if files would be replaced in it that this program did not write.

    Args:
        folder: of the files; need not exist.
        names: of the files that will be written, and of those that an earlier run may have left.
        record: the JSON file that shows whether this program wrote them.
        keys: that this file has if this program wrote it.

    Raises:
        ConfigError: names the first file that would be replaced.
    """
    there = [folder / name for name in names if os.path.lexists(folder / name)]
    if not there:
        return
    try:
        values = json.loads((folder / record).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict) or not set(keys) <= values.keys():
        raise ConfigError(f"output: {there[0]} was not written by this program and is kept; name another folder")


def can_lock(folder: Path) -> bool:
    """Whether files of a folder can be locked, by locks that the system frees when their process dies.

    Some shared disks cannot (Lustre without flock, some NFS and FUSE mounts).

    Raises:
        OSError: the folder cannot be written.
    """
    try:
        import fcntl
    except ImportError:
        return os.name == "nt"  # Windows locks files in its own way
    path = folder / f"{_PARTIAL}{secrets.token_hex(4)}-lock"
    try:
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True
    finally:
        path.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Whether a disk, or the share of it that the user may take, has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_refusal(error: OSError) -> bool:
    """Whether the system refused a path that the user may mend: permissions, a file where a folder is wanted."""
    mendable = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
    return error.filename is not None and error.errno in (*mendable, errno.EIO)


def is_partial(path: Path) -> bool:
    """Whether a name is one of `replacing`'s temporary ones."""
    return path.name.startswith(_PARTIAL)


def remove_partial(path: Path) -> None:
    """Remove the half-written copies of a file that a killed process has left; nobody else may be writing it."""
    for left in path.parent.glob(f"{_PARTIAL}????????-{glob.escape(path.name)}"):
        left.unlink(missing_ok=True)


def remove_partials(folder: Path) -> None:
    """The same for all files of a folder and of those in it."""
    for left in folder.rglob(f"{_PARTIAL}????????-*"):
        left.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """The text of a file that a person wrote: UTF-8, or UTF-16 as Windows marks it; without a byte order mark.

    Line ends are those of Unix, whatever the system that wrote them.

    Raises:
        DataError: no such file, or text in another encoding.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        excel = " (Excel: 'CSV UTF-8')" if path.suffix.lower() == ".csv" else ""
        raise DataError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8{excel}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all. NaN is written as null, infinity as "inf": JSON has neither."""
    write_text(path, json.dumps(plain_json(values), indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n")


def plain_json(values: Any) -> Any:
    """The values with what JSON lacks replaced: NaN by null, infinity by "inf"."""
    if isinstance(values, dict):
        return {key: plain_json(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain_json(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None if math.isnan(values) else str(values)
    return values
