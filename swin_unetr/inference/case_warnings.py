"""Warnings of a prediction: scans whose headers are odd, or that are unlike those that the model was trained on."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from swin_unetr.datasets import Case
from swin_unetr.inference.models import Ensemble
from transforms.geometry import Volume
from transforms.likeness import unlike

#: Cases whose warnings are written out; the others are counted.
_SHOWN = 5


class CaseWarnings:
    """Collects the warnings of a run, for its record, and says those of the first few cases. Its methods may be called
    in any thread.

    Args:
        ensemble: the models.
        say: takes a line for the user.
    """

    def __init__(self, ensemble: Ensemble, say: Callable[[str], None]) -> None:
        self._ensemble, self._say = ensemble, say
        self._lock = Lock()
        #: By case; cases without warnings are not among them.
        self.by_case: dict[str, tuple[str, ...]] = {}

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
            self.by_case[case.id] = words
            number = len(self.by_case)
        if number <= _SHOWN:
            self._say(f"{case.id}: warning: {'; '.join(words)}")

    def of(self, case: Case) -> tuple[str, ...]:
        """Warnings of a case."""
        return self.by_case.get(case.id, ())

    def close(self) -> None:
        """Say how many were not written out."""
        if (more := len(self.by_case) - _SHOWN) > 0:
            self._say(f'warnings on {more} more case{"s" * (more > 1)}; see "warnings" in predictions.json')
