"""The scans of a pre-training once they are in the cache: each content once, and what was left out by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretrain.scans.contents import Content
from pretrain.scans.exclusions import unmatched_error
from pretrain.scans.find import ScanList, overlap_error
from swin_unetr.batch import Failure
from swin_unetr.datasets import Case
from swin_unetr.errors import DataError
from swin_unetr.store.scan_file import StoredScan
from swin_unetr.words import count


@dataclass(frozen=True, kw_only=True)
class CachedScans:
    """The scans of a pre-training, each content once.

    Attributes:
        scans: where their blocks are.
        cases: the files that they came from, in the same order.
        hashes: of their contents, in the same order.
        channel_hashes: of the channels of scans that have several.
        skipped: what cannot be used, and why.
        duplicates: the file of a scan, and the file with the same content that is used instead.
        excluded: files left out because a list names them or their content.
        found: how many scans were found, including the excluded ones.
    """

    scans: tuple[StoredScan, ...]
    cases: tuple[Case, ...]
    hashes: tuple[str, ...]
    channel_hashes: tuple[str, ...]
    skipped: tuple[Failure, ...]
    duplicates: tuple[tuple[str, str], ...]
    excluded: tuple[str, ...]
    found: int

    @property
    def channels(self) -> int:
        """Channels of every scan."""
        return self.scans[0].channels

    def summary(self) -> str:
        """How many are used, and the names of those that are not."""
        lines = [f"{count(len(self.scans), 'scan')} of {count(self.channels, 'channel')}"]
        if self.excluded:
            lines.append(f"{len(self.excluded)} of {self.found} excluded by the list")
        if self.duplicates:
            lines.append(f"{len(self.duplicates)} left out because others hold the same voxels:")
            lines += [f"  {one} (as {other})" for one, other in self.duplicates]
        if self.skipped:
            lines.append(f"{len(self.skipped)} skipped:")
            lines += [f"  {failure.message}" for failure in self.skipped]
        return "\n".join(lines)

    def provenance(self) -> dict[str, Any]:
        """Which scans were used, for the record of a run and for the model's."""
        return {
            "scans": [str(image.absolute()) for case in self.cases for image in case.images],
            "scan_hashes": list(self.hashes),
            "channel_hashes": list(self.channel_hashes),
            "scans_skipped": [failure.message for failure in self.skipped],
            "scans_duplicated": [one for one, _ in self.duplicates],
            "scans_excluded": list(self.excluded),
        }


@dataclass(frozen=True)
class Entry:
    """A scan in the cache."""

    content: Content
    blocks: StoredScan


def choose(
    found: ScanList,
    outcomes: Sequence[Entry | Failure],
    tested: set[str],
    excluded_contents: Mapping[str | None, frozenset[str]] | None = None,
) -> CachedScans:
    """Each content once, without what is excluded.

    Args:
        found: the scans.
        outcomes: of each of them: its entry, or why it has none.
        tested: hashes of the contents of a later test.
        excluded_contents: hashes of contents that are left out, by the entry of the list of exclusions that must match
            one of them; under None those of scans that are left out by name.

    Raises:
        DataError: no scan can be used, the numbers of channels differ, an entry of the exclusions matches nothing, or
            scans belong to the test too.
    """
    left_out = _left_out_contents(found, outcomes, excluded_contents or {})
    excluded, duplicates, used = list(found.excluded), [], dict[str, tuple[Case, Entry]]()
    for case, outcome in zip(found.cases, outcomes, strict=True):
        if isinstance(outcome, Failure):
            continue
        name, content = str(case.images[0]), outcome.content
        if not content.hashes.isdisjoint(left_out):
            excluded.append(name)
        elif content.hash in used:
            duplicates.append((name, str(used[content.hash][0].images[0])))
        else:
            used[content.hash] = (case, outcome)
    skipped = (*found.skipped, *(outcome for outcome in outcomes if isinstance(outcome, Failure)))
    if common := [str(case.images[0]) for case, entry in used.values() if not entry.content.hashes.isdisjoint(tested)]:
        raise overlap_error(common)
    if not used:
        lines = "\n".join(f"  {failure.message}" for failure in skipped)
        raise DataError(f"no scan can be used ({len(skipped)} skipped, {len(excluded)} excluded):\n{lines}")
    _refuse_mixed_channels(list(used.values()))
    return CachedScans(
        scans=tuple(entry.blocks for _, entry in used.values()),
        cases=tuple(case for case, _ in used.values()),
        hashes=tuple(used),
        channel_hashes=tuple(name for _, entry in used.values() for name in entry.content.channel_hashes),
        skipped=skipped,
        duplicates=tuple(duplicates),
        excluded=tuple(excluded),
        found=len(found.cases) + len(found.excluded),
    )


def _left_out_contents(
    found: ScanList, outcomes: Sequence[Entry | Failure], contents: Mapping[str | None, frozenset[str]]
) -> frozenset[str]:
    """All contents that are left out.

    Raises:
        DataError: an entry of the list whose content no scan has.
    """
    there = contents.get(None, frozenset()).union(
        *(outcome.content.hashes for outcome in outcomes if isinstance(outcome, Entry))
    )
    if unmatched := [entry for entry, hashes in contents.items() if entry is not None and hashes.isdisjoint(there)]:
        raise unmatched_error(unmatched, found.exclusions.entries, (case.id for case in found.cases))
    return frozenset().union(*contents.values())


def _refuse_mixed_channels(used: Sequence[tuple[Case, Entry]]) -> None:
    by_number: dict[int, list[str]] = {}
    for case, entry in used:
        by_number.setdefault(entry.content.channels, []).append(str(case.images[0]))
    if len(by_number) > 1:
        usual = max(by_number, key=lambda number: len(by_number[number]))
        others = [f"{name} ({number})" for number, names in by_number.items() if number != usual for name in names]
        named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise DataError(
            f"the scans differ in their number of channels: {len(by_number[usual])} have {usual}, others not: {named}; "
            "leave these out by --exclude"
        )
