"""Whether files are the same as before: by their stamps, which cost nothing, and by their bytes where stamps differ."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from swin_unetr.files import real_path

#: Files beside a header of Analyze and NIfTI that hold its voxels.
_DATA_SUFFIXES = (".img", ".img.gz")
#: Where the headers of MetaImage and NRRD name the files of their voxels.
_NAMED = re.compile(r"^(?:ElementDataFile *=|data ?file *:) *(.+?) *\r?$", re.MULTILINE | re.IGNORECASE)
_HEADER_BYTES = 1 << 16
_READ_AT_ONCE = 1 << 20

#: Name, bytes, time of the last change of the content, time of the last change of anything, and inode of a file.
Stamp = tuple[str, int, int, int, int]


def parts_of(path: Path) -> list[Path]:
    """All files that an image consists of: of a series its slices, of a header the files that hold its voxels.

    Raises:
        OSError: the path cannot be read.
    """
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix.lower() == ".hdr":
        beside = iter([path.with_suffix(suffix) for suffix in _DATA_SUFFIXES])
    elif path.suffix.lower() == ".img":
        beside = iter([path.with_suffix(".hdr")])
    elif path.suffix.lower() in (".mhd", ".mha", ".nhdr", ".nrrd"):
        beside = _named_by(path)
    else:
        return [path]
    return [path, *(file for file in beside if file.is_file())]


def file_stamps(path: Path) -> list[Stamp]:
    """The stamps of the parts of an image; they change when one of the parts is written again or replaced.

    Size and time of the last change are not enough: programs that copy or correct a file may set the time to what it
    was. No program can set the time of the last change of anything (on Windows it is the time of creation), and a file
    that takes another's place has an inode of its own. The device is not part of a stamp: network disks get another
    number whenever they are mounted. A stamp may change though the content does not, for example when a link is made,
    so that whoever finds another stamp should compare `bytes_hash`.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    stamps = []
    for file in parts_of(path):
        stat = file.stat()
        name = str(file.relative_to(path)) if file != path and path.is_dir() else file.name
        stamps.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return stamps


def bytes_hash(path: Path) -> str:
    """Hash of the bytes of all parts of an image, in their order and whatever their names: 32 hexadecimal digits.

    Raises:
        OSError: a file is missing or cannot be read.
    """
    of_all = hashlib.blake2b(digest_size=16)
    for file in parts_of(path):
        of_this = hashlib.blake2b(digest_size=16)
        with file.open("rb") as stream:
            while block := stream.read(_READ_AT_ONCE):
                of_this.update(block)
        of_all.update(of_this.digest())
    return of_all.hexdigest()


def _named_by(header: Path) -> Iterator[Path]:
    """The files in the folder of a MetaImage or NRRD header, or below it, that the header names; others are ignored."""
    with header.open("rb") as stream:
        text = stream.read(_HEADER_BYTES).decode("utf-8", "replace")
    found = _NAMED.search(text)
    if found is None or found[1].upper() == "LOCAL":
        return
    names = [found[1]]
    if found[1].upper().startswith("LIST"):
        names = [line.strip() for line in text[found.end() :].splitlines() if line.strip()]
    elif "%" in found[1]:  # a pattern, then the first and the last number and the step
        pattern = re.sub(r"%\d*d", "*", found[1].split()[0])
        found_files = [] if Path(pattern).is_absolute() else sorted(header.parent.glob(pattern))
        names = [str(file.relative_to(header.parent)) for file in found_files]
    home = real_path(header.parent)
    for name in names:
        file = header.parent / name
        if real_path(file).is_relative_to(home):
            yield file
