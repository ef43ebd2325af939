"""BIDS: `sub-01/[ses-1/]anat/sub-01_T1w.nii.gz`, with masks `*_dseg`, `*_mask` or `*_seg` below `derivatives`.

The Brain Imaging Data Structure, https://bids-specification.readthedocs.io (names are entities `key-value` joined by
`_`, the last part is the suffix; masks are derivatives, their values explained by a table `*_dseg.tsv`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.datasets.faults import one_case
from swin_unetr.datasets.listing import image_suffix, is_listed, stem, visible
from swin_unetr.datasets.reader import Reader
from swin_unetr.datasets.side_files import read_table, value_of
from swin_unetr.errors import DataError
from swin_unetr.tasks import Target, Task, modality_of

_DERIVATIVES = "derivatives"
#: Kinds of data that hold scans of a body part; no time series, no field maps.
_KINDS = ("anat", "ct", "pet")
#: Suffixes of masks, in the order of preference; the last are those of spinal cord data sets.
_MASKS = ("dseg", "mask", "seg", "seg-manual")
#: Masks that say where to look, not what is there.
_HELPERS = re.compile(r"(desc|label)-(brain|head|deface)|defacemask", re.IGNORECASE)
_NAME = re.compile(r"(?P<session>(?P<subject>sub-[^_]+)(_ses-[^_]+)?)_(?P<rest>.+)")


@dataclass(frozen=True)
class _File:
    path: Path
    #: `sub-01` and `sub-01_ses-1`.
    subject: str
    session: str
    #: What is left of the name: other entities and the suffix.
    kind: str


def is_bids(root: Path) -> bool:
    """Whether a folder holds subjects, or sessions of them, with scans."""
    return any(folder.name in _KINDS for folder in _data_folders(root))


def read_bids(root: Path, *, with_test: bool) -> Dataset:
    """List the sessions; a session of a subject is a case, and the subject its group.

    Channels are the kinds of scans that every session has; others are left out, and noted. Labels are the one kind of
    mask that lies below `derivatives`; if a table explains its values, they are the task. Where faults are noted,
    channels are the kinds that most sessions have, and sessions without them are left out.

    Args:
        root: the data set's folder.
        with_test: changes nothing, since the layout has no test cases.

    Raises:
        DataError: no kind of scan that every session has, or several kinds of masks.
    """
    scans = _by_session(_files(path for folder in _data_folders(root) for path in visible(folder)))
    derived = _files((root / _DERIVATIVES).rglob("sub-*") if (root / _DERIVATIVES).is_dir() else ())
    masks = _by_session(file for file in derived if _suffix(file.kind) in _MASKS)
    labels, kind = _labels(root, masks, set(scans))
    # If the data set has labels, only sessions with a label decide what the channels are.
    deciding = [scans[session] for session in labels or scans]
    channels = _channels(root, deciding)
    cases, notes = [], []
    for session, files in scans.items():
        if missing := [channel for channel in channels if channel not in files]:
            notes.append(f"{session}: left out, lacks {', '.join(missing)}")
            continue
        images = tuple(files[channel].path for channel in channels)
        group = files[channels[0]].subject
        cases.append(Case(id=session, images=images, label=labels.get(session), group=group))
    if others := sorted({kind for files in scans.values() for kind in files} - set(channels)):
        notes.append(f"scans that not every session has, left out: {', '.join(others)}")
    task = _task(root, kind, channels) if kind else None
    return Dataset(root=root, layout=READER.name, cases=tuple(cases), task=task, channels=channels, notes=tuple(notes))


def _data_folders(root: Path) -> Iterator[Path]:
    """`sub-*/anat` and `sub-*/ses-*/anat`, and those of other kinds."""
    for subject in sorted(root.glob("sub-*")):
        for parent in (subject, *sorted(subject.glob("ses-*"))):
            yield from (parent / kind for kind in _KINDS if (parent / kind).is_dir())


def _files(paths: Iterable[Path]) -> Iterator[_File]:
    for path in sorted(paths):
        match = _NAME.fullmatch(stem(path)) if image_suffix(path) and is_listed(path) else None
        if match and not _HELPERS.search(match["rest"]):
            yield _File(path, match["subject"], match["session"], match["rest"])


def _by_session(files: Iterable[_File]) -> dict[str, dict[str, _File]]:
    """Session to kind to file; a session with two files of a kind is at fault."""
    found: dict[str, dict[str, _File]] = {}
    doubled = set()
    for file in files:
        session = found.setdefault(file.session, {})
        if file.kind in session:
            doubled.add(file.session)
            with one_case(file.session):
                other = session[file.kind].path
                raise DataError(f"{file.path}: is of the same session and kind as {other}; remove one of them")
        session[file.kind] = file
    return {name: session for name, session in found.items() if name not in doubled}


def _channels(root: Path, sessions: Sequence[Mapping[str, _File]]) -> tuple[str, ...]:
    """The kinds of scans that all sessions have."""
    counts = Counter(kind for files in sessions for kind in files)
    channels = tuple(sorted(kind for kind, count in counts.items() if count == len(sessions)))
    if sessions and not channels:
        with one_case():
            found = ", ".join(f"{kind} ({count})" for kind, count in counts.most_common())
            raise DataError(f"{root}: no kind of scan is in all {len(sessions)} sessions: {found}; list them in a CSV")
    return channels or tuple(sorted(kind for kind, count in counts.items() if count > len(sessions) / 2))


def _labels(
    root: Path, masks: Mapping[str, Mapping[str, _File]], sessions: set[str]
) -> tuple[dict[str, Path], str | None]:
    """Label file by session, and the kind of mask that they are."""
    kinds = {kind for session in sessions & set(masks) for kind in masks[session] if _suffix(kind) in _MASKS}
    if not kinds:
        return {}, None
    best = min(_MASKS.index(_suffix(kind)) for kind in kinds)
    chosen = sorted(kind for kind in kinds if _MASKS.index(_suffix(kind)) == best)
    if len(chosen) > 1:
        with one_case():
            raise DataError(
                f"{root / _DERIVATIVES}: holds masks of {len(chosen)} kinds ({', '.join(chosen)}); keep one kind "
                "there, or list the cases in a cases.csv"
            )
    kind = max(chosen, key=lambda kind: sum(kind in masks.get(session, ()) for session in sessions))
    labels = {session: masks[session][kind].path for session in sorted(sessions) if kind in masks.get(session, {})}
    return labels, kind


def _suffix(kind: str) -> str:
    return kind.rpartition("_")[2]


def _task(root: Path, kind: str, channels: tuple[str, ...]) -> Task | None:
    """What the table beside the masks, or above them, says of their values."""
    tables = sorted((root / _DERIVATIVES).rglob(f"*{_suffix(kind)}.tsv"), key=lambda path: len(path.parts))
    if not tables:
        return None
    rows = [row.cells for row in read_table(tables[0])[1]]
    try:
        values = {int(value_of(row, ("index",))): value_of(row, ("name",)).strip() for row in rows}
        targets = tuple(Target(name=name, labels=(of,), write_as=of) for of, name in sorted(values.items()) if of)
        name = root.absolute().name
        return Task(name=name, modality=modality_of(channels), channels=channels, targets=targets)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{tables[0]}: needs columns 'index' and 'name' for the labels' values ({error})") from error


READER = Reader(
    name="bids",
    looks="sub-01/[ses-1/]anat/sub-01_T1w.nii.gz with masks below derivatives/",
    structures="*_dseg.tsv, or the values in the labels",
    recognises=is_bids,
    read=read_bids,
)
