"""Warnings of a prediction: scans whose headers are odd, or that are unlike those that the model was trained on."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from swin_unetr.datasets import Case
from swin_unetr.inference.engine.models import Ensemble
from swin_unetr.words import count
from transforms.geometry import Volume
from transforms.likeness import unlike

#: Cases whose warnings are written out; the others are counted.
_SHOWN = 5


class CaseWarnings:
    """Collects the warnings of a run for its record, and prints those of the first few cases. Its methods may be called
    in any thread.

    Args:
        ensemble: the models.
        say: takes a line for the user.
        by_case: takes the warnings by the id of their case.
    """

    def __init__(self, ensemble: Ensemble, say: Callable[[str], None], by_case: dict[str, tuple[str, ...]]) -> None:
        self._ensemble, self._say, self._by_case = ensemble, say, by_case
        #: How scans differ in kind from those of training, by case.
        self._unlike: dict[str, tuple[str, ...]] = {}
        self._lock = Lock()
        self._count = 0

    def check(self, case: Case, volume: Volume) -> None:
        """Look at a scan that was read.

        Args:
            case: which.
            volume: channels x X x Y x Z as stored.
        """
        notes = [f"{(note.path or case.images[0]).name}: {note.words}" for note in volume.notes]
        odd = unlike(volume, self._ensemble.task, self._ensemble.training_scans)
        words = (*notes, *(f"{case.images[0].name}: {of}" for of in odd))
        if not words:
            return
        with self._lock:
            self._by_case[case.id] = words
            self._unlike[case.id] = odd
            self._count += 1
            is_shown = self._count <= _SHOWN
        if is_shown:
            self._say(f"{case.id}: warning: {'; '.join(words)}")

    def of(self, case: Case) -> tuple[str, ...]:
        """Warnings of a case."""
        return self._by_case.get(case.id, ())

    def unlike(self, case: Case) -> tuple[str, ...]:
        """How a case differs in kind from the scans of training, in words."""
        return self._unlike.get(case.id, ())

    def close(self) -> None:
        """Say how many were not written out."""
        if (more := self._count - _SHOWN) > 0:
            self._say(f'warnings on {count(more, "more case")}; see "warnings" in predictions.json')
