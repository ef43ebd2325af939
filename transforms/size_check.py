"""Headers that claim more voxels than their files can hold: refused before memory is taken for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from swin_unetr.datasets.listing import inside
from swin_unetr.errors import DataError
from transforms.note import Note
from transforms.verdict import RefusedError

#: Deflate makes at most this many bytes of one; a header that claims more is damaged, or made to harm.
DEFLATE_LIMIT = 1100
#: Where the headers of MetaImage and NRRD name the file of the voxels. Without a name, or with LOCAL, they follow here.
_NAMED = re.compile(rb"^(?:ElementDataFile *=|data ?file *:) *(.+?) *\r?$", re.MULTILINE | re.IGNORECASE)
_HEADER_BYTES = 1 << 16
#: Fields that hold the voxel size, by the ending of the name.
_NRRD = re.compile(rb"^(?:space directions|spacings): *.", re.MULTILINE | re.IGNORECASE)
_META = re.compile(rb"^Element(?:Spacing|Size) *= *.", re.MULTILINE | re.IGNORECASE)
_SPACING = {".nrrd": _NRRD, ".nhdr": _NRRD, ".mha": _META, ".mhd": _META}
#: First bytes of the pointers of Git LFS and git-annex.
_STAND_IN_BYTES = 64


def refuse_impossible_size(path: Path, claimed: int, held: int) -> None:
    """Refuse a header that claims more than its files can hold.

    Args:
        path: for the message.
        claimed: bytes of voxels, by the header.
        held: bytes of the files that hold them, compressed or not.

    Raises:
        DataError: the files cannot hold that much.
    """
    if claimed > held * DEFLATE_LIMIT:
        raise DataError(f"{path}: its header claims {claimed} bytes of voxels, its files hold {held}; copy it again")


def refuse_stand_in(path: Path) -> None:
    """Refuse a small text file that stands in for an image that was not downloaded, and a file without content.

    Raises:
        RefusedError: says what fetches the image.
    """
    if path.is_dir():
        return
    with path.open("rb") as file:
        start = file.read(_STAND_IN_BYTES)
    if not start:
        raise RefusedError(f"{path}: is empty (0 bytes); copy it again")
    if start.startswith(b"version https://git-lfs"):
        words = "is a Git LFS pointer, not the file itself; run 'git lfs pull' in its folder"
        raise RefusedError(f"{path}: {words}", "stand-in")
    if start.lstrip(b"/.").startswith((b"annex/objects/", b"git/annex/objects/")):
        words = "is a git-annex pointer, not the file itself; run 'git annex get' in its folder"
        raise RefusedError(f"{path}: {words}", "stand-in")


def missing_spacing(path: Path) -> Iterator[Note]:
    """A note if the header of a MetaImage or NRRD file gives no voxel size; libraries then assume 1 x 1 x 1 mm."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    wanted = _SPACING.get(path.suffix.lower())
    if wanted is not None and not wanted.search(start):
        yield Note("spacing-missing", "the header gives no voxel size; 1 x 1 x 1 mm is assumed")


def bytes_on_disk(path: Path) -> int:
    """Bytes of a MetaImage or NRRD file, and of the file beside it that its header names.

    If its header names many (a list, or a pattern with numbers), bytes of its whole folder.

    Raises:
        DataError: the header names a file outside its folder.
    """
    with path.open("rb") as file:
        found = _NAMED.search(file.read(_HEADER_BYTES))
    size = path.stat().st_size
    if found is None or found[1].upper() == b"LOCAL":
        return size
    data = inside(path, found[1].decode("utf-8", "replace"))
    if data.is_file():
        return size + data.stat().st_size
    return sum(other.stat().st_size for other in path.parent.iterdir() if other.is_file())
