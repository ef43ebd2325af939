"""Headers that claim more voxels than their files can hold: refused before memory is taken for them."""

from __future__ import annotations

import re
from pathlib import Path

from swin_unetr.datasets.listing import inside
from swin_unetr.errors import DataError

#: Deflate cannot shrink further than to one in so many bytes; a header that claims more is damaged, or made to harm.
DEFLATE_LIMIT = 1100
#: Where the headers of MetaImage and NRRD name the file of the voxels; none, or LOCAL, where they follow the header.
_NAMED = re.compile(rb"^(?:ElementDataFile *=|data ?file *:) *(.+?) *\r?$", re.MULTILINE | re.IGNORECASE)
_HEADER_BYTES = 1 << 16


def refuse_impossible_size(path: Path, claimed: int, held: int) -> None:
    """Refuse what cannot be.

    Args:
        path: for the message.
        claimed: bytes of voxels, by the header.
        held: bytes of the files that hold them, compressed or not.

    Raises:
        DataError: they cannot hold as much.
    """
    if claimed > held * DEFLATE_LIMIT:
        raise DataError(f"{path}: its header claims {claimed} bytes of voxels, its files hold {held}; copy it again")


def bytes_on_disk(path: Path) -> int:
    """Bytes of a MetaImage or NRRD file, and of the file beside it that its header names.

    Of a header that names many (a list, or a pattern with numbers), those of its whole folder.

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
