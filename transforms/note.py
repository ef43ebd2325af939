"""Something odd about a file that does not stop its use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    """Something odd about a file that does not stop its use.

    Attributes:
        code: code of the doctor's finding, such as "units" or "forms-disagree".
        words: what was found, and what was done about it; they follow the name of the file.
        path: the file, if it is not the one that was read (a slice in a folder).
    """

    code: str
    words: str
    path: Path | None = None
