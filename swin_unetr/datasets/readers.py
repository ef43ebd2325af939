"""The layouts of data sets. A further layout is a module of its own, and one line in `READERS`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from swin_unetr.datasets import bids, brats_layouts, btcv, decathlon, folders, lists, nnunet, plain
from swin_unetr.datasets.faults import first_look
from swin_unetr.datasets.listing import require_folder
from swin_unetr.datasets.plain import is_image_file
from swin_unetr.datasets.reader import Reader
from swin_unetr.errors import ConfigError

#: In their order of recognition: the first that recognises a folder reads it. `plain` recognises every folder.
READERS: tuple[Reader, ...] = (
    nnunet.READER,
    decathlon.READER,
    btcv.READER,
    bids.READER,
    brats_layouts.READER,
    folders.READER,
    lists.READER,
    plain.READER,
)
LAYOUTS: tuple[str, ...] = tuple(reader.name for reader in READERS)
#: Instead of the name of a layout: the layout is recognised from the files.
AUTO = "auto"
#: What the option `--layout` and the field `layout` of a recipe accept.
CHOICES = (AUTO, *LAYOUTS)

if TYPE_CHECKING:
    Layout: TypeAlias = str
else:  # the parser of recipes and of the command line accepts these names alone, and shows them in its help
    Layout = Literal[CHOICES]


def recognise(root: Path) -> Reader:
    """The reader of a folder, of an image file, or of a file that describes a data set.

    Raises:
        DataError: no such folder, or a file that is none of these.
    """
    if is_image_file(root):
        return plain.READER
    if described := next((reader for reader in READERS if reader.described_by(root)), None):
        return described
    require_folder(root)
    with first_look():
        return next(reader for reader in READERS if reader.recognises(root))


def find_reader(root: Path, layout: str) -> Reader:
    """The reader of a layout; of "auto", the one that recognises the path.

    Raises:
        ConfigError: no such layout.
        DataError: the path is missing, or is a file that this layout cannot read.
    """
    if layout == AUTO:
        return recognise(root)
    reader = next((reader for reader in READERS if reader.name == layout), None)
    if reader is None:
        raise ConfigError(f"layout: {layout!r} is not one of {', '.join(CHOICES)}")
    if not is_image_file(root) and not reader.described_by(root):
        require_folder(root)
    return reader


def why_no_scans(reader: Reader, layout: str) -> str:
    """What was looked for in a folder in which no scans were found, and what to do.

    Args:
        reader: the reader that found none.
        layout: what the user asked for, "auto" or the reader's name.
    """
    if layout == AUTO and reader is plain.READER:
        needs = "; ".join(f"{other.name} needs {other.looks}" for other in READERS)
        return f"none of the layouts fits ({needs}); check the folder, or name its --layout"
    remedy = "check the folder, or name its --layout" if layout == AUTO else "check the folder and the --layout"
    return f"this layout needs {reader.looks}; {remedy}"
