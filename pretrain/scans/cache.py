"""Scans preprocessed once, into a store from which crops are read.

The contents of a scan's files are recorded beside the scans. No run makes a scan again that is already there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from pretrain.scans.cached import CachedScans, Entry, choose
from pretrain.scans.contents import Content, examine
from pretrain.scans.find import ScanList
from swin_unetr.batch import Failure
from swin_unetr.config import PreprocessConfig
from swin_unetr.datasets import Case
from swin_unetr.errors import DataError
from swin_unetr.store.filling import Tell, alone, in_parallel, quiet
from swin_unetr.store.folder import Store, source_key
from swin_unetr.store.scan_file import StoredScan
from swin_unetr.store.size import check_space, in_words, store_bytes
from swin_unetr.words import count
from transforms.io import read_image, refuse_time_series
from transforms.preprocess import preprocess_volume
from transforms.steps import preprocessing_key

_OPTION = "--cache"


def cache_scans(
    found: ScanList, preprocess: PreprocessConfig, folder: Path, *, workers: int = 4, tell: Tell = print
) -> CachedScans:
    """Read and preprocess the scans that are not in the cache yet, and list all that can be used.

    A scan that cannot be read, is constant or empty is skipped. After a stop, the next call continues.

    Args:
        found: the scans.
        preprocess: spacing, intensity and crop.
        folder: of the cache; new, or shared with other runs.
        workers: how many scans are preprocessed at a time.
        tell: gets lines for the user: the size before anything is written, and the progress.

    Raises:
        ConfigError: the disk is too small.
        DataError: no scan can be used, the numbers of channels differ, or scans belong to the test too.
    """
    with alone(folder, tell) as is_alone:
        cache = _Cache(folder, preprocess)
        if is_alone:
            cache.discard_partial()
        tested = {name for of in cache.hashes_of(found.test, "the test", workers, tell) for name in of}
        excluded = _excluded(found, cache, workers, tell)
        todo = [case for case in found.cases if not cache.holds(case)]
        if todo:
            size = store_bytes(todo, preprocess, workers)
            free = check_space(folder, size, _OPTION)
            needed = f"at most {in_words(size)} in {folder} ({in_words(free)} free)"
            tell(f"cache: {len(todo)} of {count(len(found.cases), 'scan')} to preprocess, {needed}")
        outcomes = in_parallel(cache.settle, found.cases, workers, tell if todo else quiet)
    return choose(found, outcomes, tested, excluded)


def _excluded(found: ScanList, cache: _Cache, workers: int, tell: Tell) -> dict[str | None, frozenset[str]]:
    """Contents that are left out, by the entry of the list that must match one; under None those without an entry."""
    entries = [None] * len(found.exclusions.cases) + [entry for entry, _ in found.copies]
    cases = [*found.exclusions.cases, *(case for _, case in found.copies)]
    excluded: dict[str | None, frozenset[str]] = {name: frozenset((name,)) for name in found.exclusions.hashes}
    excluded |= dict.fromkeys(found.exclusions.elsewhere, frozenset())
    for entry, hashes in zip(entries, cache.hashes_of(cases, "the exclusions", workers, tell), strict=True):
        excluded[entry] = excluded.get(entry, frozenset()) | hashes
    return excluded


class _Cache:
    """The store of one way of preprocessing, and the record of what the files of scans hold."""

    def __init__(self, root: Path, preprocess: PreprocessConfig) -> None:
        self._preprocess = preprocess
        self._store = Store(root, {"preprocess": preprocessing_key(preprocess)}, option=_OPTION)

    def holds(self, case: Case) -> bool:
        """Whether a scan is already in the cache."""
        try:
            content = self._known(source_key(case.images))
        except DataError:
            return False
        return content is not None and (content.problem is not None or self._find(case, content) is not None)

    def settle(self, case: Case) -> Entry | Failure:
        """The scan's entry, made if it does not exist yet; or what is wrong with the scan."""
        try:
            refuse_time_series(case.images, case.channels)  # another run may have known the meaning of its volumes
            key = source_key(case.images)
            content = self._known(key)
            scan = None if content is None else self._find(case, content)
            if content is None or (content.problem is None and scan is None):
                content, scan = self._make(key, case)
        except DataError as error:
            return Failure(case.id, str(error))
        if content.problem is not None or scan is None:
            return Failure(case.id, f"{case.images[0]}: {content.problem}")
        return Entry(content, scan)

    def hashes_of(self, cases: Sequence[Case], where: str, workers: int, tell: Tell) -> Iterator[frozenset[str]]:
        """Hashes of the contents of cases; those that cannot be read are reported and have none."""

        def hashes(case: Case) -> frozenset[str] | Failure:
            try:
                return self._content(case).hashes
            except DataError as error:
                return Failure(case.id, f"a scan of {where} is not checked for overlap: {error}")

        for outcome in in_parallel(hashes, cases, workers, quiet):
            if isinstance(outcome, Failure):
                tell(outcome.message)
                yield frozenset()
            else:
                yield outcome

    def discard_partial(self) -> None:
        """Remove what a killed run left half-written; only while no other run fills the cache."""
        self._store.discard_partial()

    def _content(self, case: Case) -> Content:
        key = source_key(case.images)
        if (content := self._known(key)) is None:
            content = examine(read_image(case.images, case.channels), self._preprocess)
            self._store.sources.note(key, case.images, asdict(content))
        return content

    def _make(self, key: str, case: Case) -> tuple[Content, StoredScan | None]:
        volume = read_image(case.images, case.channels)
        content = examine(volume, self._preprocess)
        scan = self._find(case, content)
        if content.problem is None and scan is None:
            try:
                array = preprocess_volume(volume, self._preprocess).as_tensor().numpy()
            except (RuntimeError, ValueError, MemoryError) as error:
                raise DataError(f"{case.images[0]}: cannot be preprocessed ({str(error).splitlines()[0]})") from error
            if not np.isfinite(array).all() or array.min() == array.max():
                content = replace(content, problem="is empty once preprocessed")
            else:
                scan = self._store.write(content.stored_as, case.id, array)
        if source_key(case.images) != key:
            raise DataError(f"{case.images[0]}: was changed while it was read; start again")
        self._store.sources.note(key, case.images, asdict(content))
        return content, scan

    def _find(self, case: Case, content: Content) -> StoredScan | None:
        return self._store.find(content.stored_as, case.id)

    def _known(self, key: str) -> Content | None:
        if (facts := self._store.sources.get(key)) is None:
            return None
        try:
            of_channels = tuple(facts["channel_hashes"] if facts["channels"] > 1 else ())
            return Content(
                hash=facts["hash"],
                channels=facts["channels"],
                channel_hashes=of_channels,
                problem=facts["problem"],
                grid=facts["grid"],
            )
        except KeyError:
            return None
