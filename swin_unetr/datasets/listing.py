"""What is in a folder: image files and DICOM series by case id, hidden files left out; paths that a file lists."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from swin_unetr.datasets.dicom_objects import DICOM_SUFFIXES, INDEX, dicom_object, is_dicom
from swin_unetr.datasets.faults import DoubledIdError, is_first_look, one_case
from swin_unetr.errors import DataError
from swin_unetr.files import require

#: Endings of the segmentations of 3D Slicer, which belong to the scan of the same name and are not scans.
SEGMENTATION_SUFFIXES = (".seg.nrrd", ".seg.nhdr")
#: Endings of image files, longest first so that `.nii.gz` is found before shorter ones. The data file of a pair
#: (.img, .raw) is not listed: its header is.
IMAGE_SUFFIXES = (*SEGMENTATION_SUFFIXES, ".nii.gz", ".nii", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd")

#: How many files of a folder are looked at to see whether it holds DICOM.
_LOOKED_AT = 50
#: How a path with a drive of Windows begins.
_WINDOWS = re.compile(r"[A-Za-z]:/")


def image_suffix(path: Path) -> str | None:
    """The ending by which a file counts as an image; None for others and for hidden files (macOS's `._x.nii.gz`)."""
    name = path.name.lower()
    if name.startswith("."):
        return None
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), None)


def stem(path: Path) -> str:
    """The name of an image file without its ending."""
    ending = image_suffix(path) or (path.suffix if path.suffix.lower() in DICOM_SUFFIXES else "")
    return path.name[: -len(ending) or None]


def images_by_stem(folder: Path, case_of: Callable[[str], str] = str) -> dict[str, Path]:
    """Image files of a folder by their stem, sorted.

    Args:
        folder: holds the files.
        case_of: gives the id of the case for a stem.

    Raises:
        DataError: two files with one stem.
    """
    files = (path for path in visible(folder) if image_suffix(path) and is_listed(path))
    return unique(((stem(path), path) for path in files), case_of)


def scans_by_stem(folder: Path, case_of: Callable[[str], str] = str) -> dict[str, Path]:
    """As `images_by_stem`, and also folders of DICOM series by their names.

    Args:
        folder: holds the files and the folders.
        case_of: gives the id of the case for a name.

    Raises:
        DataError: two scans of one name.
    """
    series = ((path.name, path) for path in visible(folder) if path.is_dir() and holds_series(path))
    files = (path for path in visible(folder) if image_suffix(path) and is_listed(path))
    images = ((stem(path), path) for path in files if image_suffix(path) not in SEGMENTATION_SUFFIXES)
    return unique([*images, *series], case_of)


def is_listed(path: Path) -> bool:
    """Whether a path is a file, or a broken link, as git-annex and DataLad leave for a file that was not fetched.

    Such a link counts as a case that cannot be read; it is not skipped.
    """
    return path.is_file() or (path.is_symlink() and not path.exists())


def holds_dicom(folder: Path) -> bool:
    """Whether a folder holds DICOM files, by the names and first bytes of some."""
    return next(dicom_files(folder), None) is not None


def holds_series(folder: Path) -> bool:
    """Whether a folder holds DICOM files with images, not only reports, contours or segmentations."""
    return any(dicom_object(path).is_image for path in dicom_files(folder))


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files among the first of a folder, without the index of a disc."""
    files = (path for path in visible(folder) if path.is_file() and image_suffix(path) is None and path.name != INDEX)
    return (path for path in islice(files, _LOOKED_AT) if is_dicom(path))


def visible(folder: Path) -> Iterator[Path]:
    """What is in a folder, sorted, without hidden files."""
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def unique(
    pairs: Iterable[tuple[str, Path]], case_of: Callable[[str], str] = str, what: str = "case id"
) -> dict[str, Path]:
    """A dict, with doubled keys refused: only the user knows which of the two files is the right one.

    Args:
        pairs: keys and files.
        case_of: gives the id of the case for a key.
        what: what the keys are, for messages.

    Raises:
        DataError: names both files.
    """
    found: dict[str, Path] = {}
    doubled = set()
    for key, path in pairs:
        with one_case(case_of(key)):
            if key in found and is_first_look():
                continue
            if key in found:
                doubled.add(key)
                raise DoubledIdError(
                    f"{path}: has the same {what} {key!r} as {found[key]}; rename or remove one of them"
                )
            found[key] = path
    return {key: path for key, path in found.items() if key not in doubled}


def inside(description: Path, listed: Any) -> Path:
    """The file that a description lists, which may not lie outside its folder: descriptions come from elsewhere.

    A link in the folder may lead to another folder: the user made it. A listed path may not use it to climb out
    (`link/../secret`).

    Args:
        description: the file that lists.
        listed: the path that it gives, relative to the description's folder.

    Raises:
        DataError: it is not a path, or leads out of the folder.
    """
    if not isinstance(listed, str) or not listed.strip() or "\0" in listed:
        raise DataError(f"{description}: lists {listed!r} where the path of a file is wanted")
    folder = os.path.normpath(description.parent.absolute())
    listed = listed if os.path.lexists(os.path.join(folder, listed)) else posix_path(listed.strip())
    if _WINDOWS.match(listed):
        raise DataError(f"{description}: lists {listed!r}, a path on a Windows machine; list paths below {folder}")
    path = os.path.join(folder, listed)
    named = os.path.normpath(path)
    climbs = ".." in Path(listed).parts and os.path.realpath(path) != os.path.realpath(named)
    if climbs or not Path(named).is_relative_to(folder):
        remedy = "list it without '..'" if climbs else _remedy(named, folder)
        raise DataError(f"{description}: lists {listed!r}, which lies outside the folder; {remedy}")
    return description.parent / os.path.relpath(named, folder)


def posix_path(listed: str) -> str:
    """A path with forward slashes instead of Windows' backslashes."""
    return listed.replace("\\", "/")


def _remedy(named: str, folder: str) -> str:
    """How files of another folder, perhaps an archive that nobody may write to, can be listed."""
    outer = os.path.dirname(named)
    link = os.path.join(folder, os.path.basename(outer) or "scans")
    return (
        f"link that folder into this one (ln -s {outer} {link}) and list the paths below the link, or move the list "
        "into a folder above the files and give it there"
    )


def require_folder(root: Path) -> None:
    """Refuse what is not a folder.

    Raises:
        DataError: nothing there, or a file.
    """
    require(root)
    if not root.is_dir():
        raise DataError(f"{root}: is a file where the folder of a data set is wanted")
