"""What is in a folder: image files by case id, hidden files left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swin_unetr.errors import DataError

#: Endings of image files, longest first so that `.nii.gz` goes before `.gz` is left behind. The data file of a pair
#: (.img, .raw) is not listed: its header is.
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd")


def image_suffix(path: Path) -> str | None:
    """The ending by which a file counts as an image; none for others and for hidden files (macOS's `._x.nii.gz`)."""
    name = path.name.lower()
    if name.startswith("."):
        return None
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), None)


def stem(path: Path) -> str:
    """The name of an image file without its ending."""
    return path.name[: -len(image_suffix(path) or "") or None]


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their stem, sorted.

    Raises:
        DataError: two files of one stem.
    """
    return unique((stem(path), path) for path in sorted(folder.iterdir()) if path.is_file() and image_suffix(path))


def unique(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """A dict, with doubled keys refused.

    Raises:
        DataError: names both files.
    """
    found: dict[str, Path] = {}
    for key, path in pairs:
        if key in found:
            raise DataError(f"{path}: has the same case id {key!r} as {found[key]}; rename or remove one of them")
        found[key] = path
    return found


def require_folder(root: Path) -> None:
    """Refuse what is not a folder.

    Raises:
        DataError: nothing there, or a file.
    """
    if not root.exists():
        raise DataError(f"{root}: no such file or folder; check the path")
    if not root.is_dir():
        raise DataError(f"{root}: is a file where the folder of a data set is wanted")
