"""One folder per case with the same names in each: `case1/ct.nii.gz`, `case1/seg.nii.gz`."""

from __future__ import annotations

import re
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.channels import complete
from swin_unetr.datasets.faults import fault_of_case, one_case
from swin_unetr.datasets.listing import image_suffix, scans_by_stem, visible
from swin_unetr.datasets.patterns import is_patterns, read_patterns
from swin_unetr.datasets.plain import PAIRS
from swin_unetr.datasets.reader import Reader
from swin_unetr.errors import DataError

#: Names of files that hold labels.
_LABEL = re.compile(
    r"(.*[-_. ])?(seg|segm|segmentation|label|labels|mask|masks|annotation|ground_?truth|gt)", re.IGNORECASE
)


def is_folders(root: Path) -> bool:
    """Whether a folder holds case folders: the same scans in each, labels in some, no image beside them."""
    if any(image_suffix(path) for path in visible(root)) or any((root / images).is_dir() for images, _ in PAIRS):
        return False
    roles = _roles(root).values()
    scans = [{role for role in files if not _LABEL.fullmatch(role)} for files in roles]
    labelled = any(_LABEL.fullmatch(role) for files in roles for role in files)
    return labelled and all(found and found == scans[0] for found in scans)


def read_folders(root: Path, *, with_test: bool) -> Dataset:
    """List the cases. The channels are the names of the scans, sorted, or those that a `layout.yaml` names.

    Args:
        root: the folder of the case folders, or a folder with a `layout.yaml`, or that file.
        with_test: changes nothing, since the layout has no test cases.

    Raises:
        DataError: a case lacks a scan that others have, or has two labels.
    """
    if is_patterns(root):
        return read_patterns(root)
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
    return Dataset(root=root, layout=READER.name, cases=tuple(cases), channels=channels)


def _roles(root: Path) -> dict[str, dict[str, Path]]:
    """Case folder to role to file; the role is the file's name without that of the folder."""
    found: dict[str, dict[str, Path]] = {}
    for folder in visible(root):
        if folder.is_dir() and (files := scans_by_stem(folder, lambda _: folder.name)):  # noqa: B023
            own = folder.name
            found[own] = {name.removeprefix(own).strip("-_. ") or name: path for name, path in files.items()}
    return found


READER = Reader(
    name="folders",
    looks="CASE/ct.nii.gz and CASE/seg.nii.gz, the same names for every case, or a layout.yaml",
    structures="the values in the labels, or a task.yaml",
    recognises=is_folders,
    read=read_folders,
    described_by=is_patterns,
)
