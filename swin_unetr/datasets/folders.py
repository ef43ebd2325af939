"""One folder per case with the same names in each: `case1/ct.nii.gz`, `case1/seg.nii.gz`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.faults import ChannelMissingError, fault_of_case, one_case
from swin_unetr.datasets.listing import image_suffix, scans_by_stem, visible
from swin_unetr.datasets.plain import PAIRS
from swin_unetr.errors import DataError

#: Names of files that hold labels.
_LABEL = re.compile(
    r"(.*[-_. ])?(seg|segm|segmentation|label|labels|mask|masks|annotation|ground_?truth|gt)", re.IGNORECASE
)


def is_folders(root: Path) -> bool:
    """Whether a folder is one of case folders: the same scans in each, labels in some, no image beside them."""
    if any(image_suffix(path) for path in visible(root)) or any((root / images).is_dir() for images, _ in PAIRS):
        return False
    roles = _roles(root).values()
    scans = [{role for role in files if not _LABEL.fullmatch(role)} for files in roles]
    labelled = any(_LABEL.fullmatch(role) for files in roles for role in files)
    return labelled and all(found and found == scans[0] for found in scans)


def read_folders(root: Path) -> Dataset:
    """List the cases. The channels are the names of the scans, sorted.

    Raises:
        DataError: a case lacks a scan that others have, or has two labels.
    """
    scans: dict[str, dict[str, Path]] = {}
    labels: dict[str, Path] = {}
    for case, files in _roles(root).items():
        masks = [path for role, path in files.items() if _LABEL.fullmatch(role)]
        if len(masks) > 1:
            both = f"{masks[0].name} and {masks[1].name}"
            fault_of_case(case, DataError(f"{root / case}: has two label files, {both}; keep one"))
            continue
        if masks:
            labels[case] = masks[0]
        scans[case] = {role: path for role, path in files.items() if not _LABEL.fullmatch(role)}
    channels = tuple(sorted({channel for files in scans.values() for channel in files}))
    cases = []
    for case, files in scans.items():
        with one_case(case):
            cases.append(Case(id=case, images=complete(root, case, files, channels), label=labels.get(case)))
    return Dataset(root=root, layout="folders", cases=tuple(cases), channels=channels)


def complete(root: Path, case: str, files: Mapping[str, Path], channels: tuple[str, ...]) -> tuple[Path, ...]:
    """The files of a case in the order of the channels.

    Raises:
        DataError: names the channels that are missing.
    """
    if missing := [channel for channel in channels if channel not in files]:
        raise ChannelMissingError(
            f"{root}: case {case!r} lacks {', '.join(missing)}, which others have; add it or leave it out"
        )
    return tuple(files[channel] for channel in channels)


def _roles(root: Path) -> dict[str, dict[str, Path]]:
    """Case folder to role to file; the role is the file's name less that of the folder."""
    found: dict[str, dict[str, Path]] = {}
    for folder in visible(root):
        if folder.is_dir() and (files := scans_by_stem(folder, lambda _: folder.name)):  # noqa: B023
            own = folder.name
            found[own] = {name.removeprefix(own).strip("-_. ") or name: path for name, path in files.items()}
    return found
