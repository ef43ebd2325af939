"""Scans preprocessed once, into a folder from which crops are read.

The folder holds, for each way of preprocessing, a folder with `contents.jsonl` (what the files were found to hold), and
a `.npy` of blocks with a `.json` beside it for each content. What is there is not made again, by whichever run.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.scans.blocks import BlockedScan, blocked_bytes, write_blocks
from pretrain.scans.cached import CachedScans, Entry, choose
from pretrain.scans.contents import Content, Contents, examine, source_key
from pretrain.scans.find import ScanList
from pretrain.scans.size import cache_bytes, check_space, in_words
from swin_unetr.batch import Failure
from swin_unetr.config import PreprocessConfig
from swin_unetr.configuration import to_dict
from swin_unetr.datasets import Case
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json
from transforms.io import read_image
from transforms.preprocess import preprocess_volume

#: Changes when the files of the cache do.
_FORMAT = 1
#: Seconds between lines on the progress where no terminal shows a bar.
_REPORT_EVERY = 60.0
Tell = Callable[[str], None]


def cache_scans(
    found: ScanList, preprocess: PreprocessConfig, folder: Path, *, workers: int = 4, tell: Tell = print
) -> CachedScans:
    """Read and preprocess the scans that are not in the cache yet, and list all that can be used.

    A scan that cannot be read, is constant or empty is skipped. Stopped at any time, it goes on where it was.

    Args:
        found: the scans.
        preprocess: spacing, intensity and crop.
        folder: of the cache; new, or one that other runs use too.
        workers: scans that are worked on at a time.
        tell: is given lines for the user: the size before anything is written, and the progress.

    Raises:
        ConfigError: the disk is too small.
        DataError: no scan can be used, the numbers of channels differ, or scans belong to the test too.
    """
    with _alone(folder, tell) as alone:
        cache = _Cache(folder, preprocess)
        if alone:
            cache.discard_partial()
        tested = {content.hash for content in cache.contents_of(found.test, workers, tell)}
        todo = [case for case in found.cases if not cache.holds(case)]
        if todo:
            size = cache_bytes(todo, preprocess, workers)
            free = check_space(folder, size)
            told = f"at most {in_words(size)} in {folder} ({in_words(free)} free)"
            tell(f"cache: {len(todo)} of {len(found.cases)} scans to preprocess, {told}")
        outcomes = _in_parallel(cache.settle, found.cases, workers, tell if todo else _quiet)
    return choose(found, outcomes, tested)


class _Cache:
    """The folder of one way of preprocessing, in the folder of a cache."""

    def __init__(self, root: Path, preprocess: PreprocessConfig) -> None:
        self._preprocess = preprocess
        ways = {"format": _FORMAT, "preprocess": to_dict(preprocess)}
        key = hashlib.blake2b(json.dumps(ways, sort_keys=True).encode(), digest_size=6).hexdigest()
        self._folder = root / key
        if not (self._folder / "preprocess.json").is_file():
            write_json(self._folder / "preprocess.json", ways)
        self._contents = Contents(self._folder / "contents.jsonl")

    def holds(self, case: Case) -> bool:
        """Whether nothing is to be done for a scan."""
        try:
            content = self._contents.get(source_key(case))
        except DataError:
            return False
        return content is not None and (content.problem is not None or self._load(content.hash) is not None)

    def settle(self, case: Case) -> Entry | Failure:
        """The scan's entry, made where there is none; or what is wrong with it."""
        try:
            key = source_key(case)
            content = self._contents.get(key)
            blocks = None if content is None else self._load(content.hash)
            if content is None or (content.problem is None and blocks is None):
                content, blocks = self._make(key, case)
        except DataError as error:
            return Failure(case.id, str(error))
        if content.problem is not None or blocks is None:
            return Failure(case.id, f"{case.images[0]}: {content.problem}")
        return Entry(content, blocks)

    def contents_of(self, cases: Sequence[Case], workers: int, tell: Tell) -> Iterator[Content]:
        """What the files of a test hold; those that cannot be read are told of."""

        def content(case: Case) -> Content | Failure:
            try:
                return self._content(case)
            except DataError as error:
                return Failure(case.id, f"a scan of the test is not checked for overlap: {error}")

        for outcome in _in_parallel(content, cases, workers, _quiet):
            if isinstance(outcome, Failure):
                tell(outcome.message)
            else:
                yield outcome

    def discard_partial(self) -> None:
        """Remove what a killed run left half-written; only while no other fills the cache."""
        for file in self._folder.glob(".partial-*"):
            file.unlink(missing_ok=True)

    def _content(self, case: Case) -> Content:
        key = source_key(case)
        if (content := self._contents.get(key)) is None:
            content = examine(read_image(case.images), self._preprocess.intensity)
            self._contents.note(key, case, content)
        return content

    def _make(self, key: str, case: Case) -> tuple[Content, BlockedScan | None]:
        volume = read_image(case.images)
        content = examine(volume, self._preprocess.intensity)
        blocks = self._load(content.hash)
        if content.problem is None and blocks is None:
            try:
                array = preprocess_volume(volume, self._preprocess).as_tensor().numpy()
            except (RuntimeError, ValueError, MemoryError) as error:
                raise DataError(f"{case.images[0]}: cannot be preprocessed ({str(error).splitlines()[0]})") from error
            if not np.isfinite(array).all() or array.min() == array.max():
                content = Content(hash=content.hash, channels=content.channels, problem="is empty once preprocessed")
            else:
                blocks = self._write(content.hash, array)
        self._contents.note(key, case, content)
        return content, blocks

    def _write(self, content_hash: str, array: NDArray[np.float32]) -> BlockedScan:
        try:
            blocks = write_blocks(self._folder / f"{content_hash}.npy", array)
            # After the voxels: where it stands, they are whole.
            write_json(self._folder / f"{content_hash}.json", {**asdict(blocks), "file": blocks.file.name})
        except OSError as error:  # no fault of the scan: all that follow would fail too
            raise ConfigError(
                f"{self._folder}: cannot be written ({error.strerror}); choose another --cache"
            ) from error
        return blocks

    def _load(self, content_hash: str) -> BlockedScan | None:
        try:
            values = json.loads((self._folder / f"{content_hash}.json").read_text(encoding="utf-8"))
            file = self._folder / values.pop("file")
            lists: dict[str, Any] = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
            blocks = BlockedScan(file=file, channels=values["channels"], **lists)
            # A disk that was full or a copy that was stopped leaves less.
            return blocks if file.stat().st_size == blocked_bytes(blocks.channels, blocks.shape) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _in_parallel(work: Callable[[Case], Any], cases: Sequence[Case], workers: int, tell: Tell) -> list[Any]:
    """The results in order; a stop does not wait for what has not begun."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, case) for case in cases]
        try:
            last = start = time.monotonic()
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if (now := time.monotonic()) - last > _REPORT_EVERY:
                    left = (now - start) / done * (len(cases) - done) / 60
                    tell(f"cache: {done} of {len(cases)} scans, about {left:.0f} min left")
                    last = now
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [future.result() for future in futures]


@contextmanager
def _alone(folder: Path, tell: Tell) -> Iterator[bool]:
    """Wait while another process fills the cache, so that no scan is preprocessed twice.

    Gives whether it is sure that no other does. Without locks (Windows, some network disks) the work may be done twice;
    its result is the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell(f"cache: waiting for another process that fills {folder}")
                fcntl.flock(file, fcntl.LOCK_EX)
            locked = True
        except OSError:
            locked = False
        yield locked


def _quiet(_: str) -> None:
    """Say nothing."""
