"""Files by a pattern of their names, which a `layout.yaml` gives: `{patient}/{case}/ct.nii.gz`."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path

from swin_unetr.config_io import load
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.channels import complete
from swin_unetr.datasets.faults import one_case
from swin_unetr.datasets.listing import inside, posix_path
from swin_unetr.errors import DataError

#: A file in the folder of a data set, with the fields of `Patterns`.
PATTERNS = "layout.yaml"
#: A named part, any part, or literal text.
_PIECE = re.compile(r"\{(case|patient)\}|(\*)|([^{}*]+)")
#: Patient and case, as a file's name has them; either may be empty.
_Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """Where the files of the cases lie, below the folder of the data set.

    `{case}`, `{patient}` and `*` each stand for a part of the name of a file or folder.
    """

    #: Pattern of the file (or folder with a DICOM series) of each channel, by the channel's name.
    images: dict[str, str]
    #: Pattern of the label files, where there are some.
    label: str | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("images: needs at least one channel with its pattern")
        named = {name: _named(pattern) for name, pattern in {**self.images, "label": self.label or ""}.items()}
        if self.label is None:
            del named["label"]
        for name, parts in named.items():
            if not parts or parts != next(iter(named.values())):
                raise ValueError(f"images: the pattern of {name} needs {{case}} or {{patient}}, the same as the others")


def is_patterns(path: Path) -> bool:
    """Whether a folder has a `layout.yaml`, or a file is one."""
    return path.name == PATTERNS and path.is_file() if not path.is_dir() else (path / PATTERNS).is_file()


def read_patterns(root: Path) -> Dataset:
    """List the files that fit.

    Args:
        root: a folder with `layout.yaml`, or that file.

    Returns:
        The cases; `{patient}` is their group.

    Raises:
        ConfigError: the file is wrong.
        DataError: a pattern leads out of the folder, fits two files of one case, or no file of another.
    """
    path = root / PATTERNS if root.is_dir() else root
    patterns = load(Patterns, path)
    found = {channel: _matches(path, pattern) for channel, pattern in patterns.images.items()}
    labels = _matches(path, patterns.label) if patterns.label else {}
    cases = []
    for key in sorted({key for files in found.values() for key in files}):
        case = "_".join(filter(None, key))
        files = {channel: of[key] for channel, of in found.items() if key in of}
        with one_case(case):
            images = complete(path.parent, case, files, tuple(found))
            cases.append(Case(id=case, images=images, label=labels.get(key), group=key[0] or None))
    return Dataset(root=path.parent, layout="folders", cases=tuple(cases), channels=tuple(found))


def _named(pattern: str) -> set[str]:
    """Names of the parts of a pattern; empty if it is not a valid pattern."""
    pieces = list(_PIECE.finditer(pattern))
    whole = "".join(piece[0] for piece in pieces) == pattern
    return {piece[1] for piece in pieces if piece[1]} if whole else set()


def _matches(description: Path, pattern: str) -> dict[_Key, Path]:
    pattern = posix_path(pattern)
    inside(description, pattern)
    pieces = list(_PIECE.finditer(pattern))
    wildcard = "".join(glob.escape(piece[3]) if piece[3] else "*" for piece in pieces)
    found: dict[_Key, Path] = {}
    for path in sorted(description.parent.glob(wildcard)):
        place = path.relative_to(description.parent)
        match = re.fullmatch(_expression(pieces), place.as_posix())
        if match is None or any(part.startswith(".") for part in place.parts):
            continue
        parts = match.groupdict()
        key = parts.get("patient", ""), parts.get("case", "")
        if key in found:
            raise DataError(f"{description}: {pattern!r} fits {found[key]} and {path}; make the pattern narrower")
        found[key] = path
    if not found:
        raise DataError(f"{description}: {pattern!r} fits no file; correct the pattern, or take it out")
    return found


def _expression(pieces: list[re.Match[str]]) -> str:
    """The pattern as a regular expression; what a name stands for is the same wherever it occurs."""
    seen: set[str] = set()
    text = []
    for name, _, literal in (piece.groups() for piece in pieces):
        if literal:
            text.append(re.escape(literal))
        elif name in seen:
            text.append(f"(?P={name})")
        else:
            text.append(f"(?P<{name}>[^/]+?)" if name else "[^/]*")
        seen.update([name] if name else [])
    return "".join(text)
