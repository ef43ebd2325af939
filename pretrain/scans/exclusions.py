"""Lists of scans that a pre-training leaves out: by name, by path, and by content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_unetr.datasets import Case
from swin_unetr.datasets.listing import posix_path
from swin_unetr.datasets.side_files import case_id, read_names
from swin_unetr.errors import DataError
from swin_unetr.files import real_path
from swin_unetr.suggestions import listed_with_nearest

_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Exclusions:
    """A list of exclusions, and which of the found scans it names.

    Attributes:
        entries: as listed, each once.
        cases: scans that are named or lie under a path of the list.
        elsewhere: entries that are files or folders without a found scan: copies of their scans are left out.
        hashes: contents to leave out (`transforms.content.content_hash`).
    """

    entries: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    elsewhere: tuple[str, ...] = ()
    hashes: frozenset[str] = frozenset()


def read_exclusions(path: Path) -> tuple[str, ...]:
    """Read a list of scans to leave out: a JSON list of strings, a table, or text with one entry a line.

    Returns:
        Names and hashes as they are; relative paths that lead somewhere from the list's own folder made absolute.

    Raises:
        DataError: the file cannot be read, is no list, or is empty.
    """
    entries = []
    for entry in read_names(path):
        listed = entry if os.path.lexists(entry) else posix_path(entry)
        place = path.absolute().parent / listed
        entries.append(str(place) if os.sep in listed and place.exists() else listed)
    if not entries:
        raise DataError(f"{path}: lists no scan; list the scans to leave out, or remove --exclude")
    return tuple(entries)


def apply_exclusions(entries: Iterable[str], cases: Sequence[Case]) -> Exclusions:
    """Find the scans that the entries of a list name.

    Entries with a slash are paths and do not mean a scan of the same name in another folder.

    Args:
        entries: paths, folders, names of files or cases, content hashes.
        cases: all scans that were found.

    Raises:
        DataError: entries match no scan, and are no files whose copies could be left out.
    """
    listed = tuple(dict.fromkeys(entries))
    places = {entry: real_path(Path(entry)) for entry in listed if os.sep in entry}
    at: dict[Path, list[int]] = {}
    named: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        named.setdefault(case.id, []).append(index)
        for image in {real_path(image) for image in case.images} if places else ():
            for place in (image, *image.parents):
                at.setdefault(place, []).append(index)
    found = {
        entry: at.get(places[entry], []) if entry in places else named.get(entry) or named.get(case_id(entry), [])
        for entry in listed
    }
    hashes = frozenset(entry for entry in listed if _HASH.fullmatch(entry) and not found[entry])
    missed = [entry for entry in listed if not found[entry] and entry not in hashes]
    elsewhere = tuple(entry for entry in missed if entry in places and places[entry].exists())
    if nothing := [entry for entry in missed if entry not in elsewhere]:
        raise unmatched_error(nothing, listed, named)
    chosen = sorted({index for of in found.values() for index in of})
    return Exclusions(entries=listed, cases=tuple(cases[index] for index in chosen), elsewhere=elsewhere, hashes=hashes)


def unmatched_error(unmatched: Sequence[str], entries: Sequence[str], known: Iterable[str]) -> DataError:
    """The error for entries of the list that no scan matches.

    Args:
        unmatched: these entries.
        entries: all entries.
        known: ids of the scans that were found.
    """
    return DataError(
        f"--exclude: {len(unmatched)} of {len(entries)} entries match no scan, by name, place or content: "
        f"{listed_with_nearest(unmatched, sorted(known))}; correct or remove them (use --test for scans that must not "
        "be among the others)"
    )
