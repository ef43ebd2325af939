"""Which scans a pre-training can use, by their names alone: no voxels are read here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretrain.scans.exclusions import Exclusions, apply_exclusions
from swin_unetr.batch import Failure
from swin_unetr.datasets import Case
from swin_unetr.datasets.exports import with_own_ids
from swin_unetr.datasets.found_scans import list_scans, real_files, without_repeats
from swin_unetr.errors import DataError
from swin_unetr.words import count


@dataclass(frozen=True, kw_only=True)
class ScanList:
    """The scans that were found, and those that were not taken.

    Attributes:
        cases: in order; for DICOM, the image is the folder of the series.
        skipped: what looked like a scan and is not used, with the reason.
        exclusions: the list of exclusions, and the scans that were left out by name or path.
        copies: entries of that list which lie elsewhere, and the scans there: scans with the same voxels are left out.
        test: scans of a later test, which must not be among `cases`, under any name.
    """

    cases: tuple[Case, ...]
    skipped: tuple[Failure, ...] = ()
    exclusions: Exclusions = Exclusions()
    copies: tuple[tuple[str, Case], ...] = ()
    test: tuple[Case, ...] = ()

    @property
    def excluded(self) -> tuple[str, ...]:
        """Files of the scans that were left out by name or path."""
        return tuple(_where(case) for case in self.exclusions.cases)


def find_scans(
    paths: Sequence[Path | str],
    *,
    layout: str = "auto",
    with_test_cases: bool = False,
    exclude: Iterable[str] = (),
    test: Iterable[Path | str] = (),
) -> ScanList:
    """List the scans under some paths.

    Args:
        paths: folders of images (with their subfolders), of DICOM series, or in a labelled layout; single image files;
            JSON or CSV lists (`swin_unetr.datasets.lists`). A file found twice counts once.
        layout: of the folders; "auto" recognises each from its files.
        with_test_cases: take the test cases of labelled layouts (`imagesTs`, "test") too.
        exclude: scans to leave out: paths, folders, names of files or cases, content hashes (`read_exclusions`).
        test: folders or files of a later test.

    Raises:
        DataError: nothing there, no scan, or scans of the test among the others.
    """
    found = list_scans(paths, layout=layout, with_test=with_test_cases)
    cases = with_own_ids(tuple(without_repeats(found.cases)))
    exclusions = apply_exclusions(exclude, cases)
    left_out = set(exclusions.cases)
    kept = tuple(case for case in cases if case not in left_out)
    if not kept:
        why = f"; {len(cases)} are excluded" if cases else ""
        named = ", ".join(str(path) for path in paths)
        raise DataError(f"{named}: no scans to pre-train on{why}; check the folder, or name its --layout")
    tested = list_scans(test, with_test=True)
    _refuse_overlap(kept, tested.cases)
    copies = []
    for entry in exclusions.elsewhere:
        listed = list_scans([entry], with_test=True)
        copies += [(entry, case) for case in without_repeats(listed.cases)]
    return ScanList(
        cases=kept,
        skipped=tuple(found.skipped),
        exclusions=exclusions,
        copies=tuple(copies),
        test=tuple(without_repeats(tested.cases)),
    )


def _where(case: Case) -> str:
    return str(case.images[0])


def _refuse_overlap(cases: Sequence[Case], test: Iterable[Case]) -> None:
    tested = {file for case in test for file in real_files(case)}
    if common := [_where(case) for case in cases if not tested.isdisjoint(real_files(case))]:
        raise overlap_error(common)


def overlap_error(common: Sequence[str]) -> DataError:
    """The error for scans that are in the test too."""
    more = f" and {len(common) - 5} more" if len(common) > 5 else ""
    named = ", ".join(common[:5]) + more
    belong = "belongs" if len(common) == 1 else "belong"
    return DataError(f"{count(len(common), 'scan')} {belong} to the test too: {named}; leave them out with --exclude")
