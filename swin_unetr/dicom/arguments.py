"""The options of commands that write DICOM. Imports no library of images, so that `--help` answers at once."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, get_args

from swin_unetr.config_io import CommandParser
from swin_unetr.errors import ConfigError

#: What a result can be written as.
Kind = Literal["seg", "rtstruct"]
#: "binary" is read by every viewer, and holds regions that overlap; "labelmap" is smaller, and few programs read it.
Encoding = Literal["binary", "labelmap"]
_INSTALL = "pip install 'swin-unetr[dicom]'"


def add_dicom_arguments(parser: CommandParser, purpose: str) -> None:
    """Add `--dicom` and `--seg-encoding`.

    Args:
        parser: of the command.
        purpose: what `--dicom` is for there.
    """
    parser.add_argument(
        "--dicom",
        nargs="+",
        choices=list(get_args(Kind)),
        default=[],
        help=f"{purpose}: a segmentation (SEG), a set of contours (RTSTRUCT)",
    )
    parser.add_argument(
        "--seg-encoding",
        choices=list(get_args(Encoding)),
        default="binary",
        help="of a SEG: binary, which every viewer reads; labelmap, which is smaller and which few read",
    )


def require_libraries() -> None:
    """Refuse to begin without the extra "dicom".

    Raises:
        ConfigError: says how to install it.
    """
    if missing := [name for name in ("highdicom", "pydicom", "contourpy") if find_spec(name) is None]:
        raise ConfigError(f"dicom: needs {', '.join(missing)}; {_INSTALL}")
