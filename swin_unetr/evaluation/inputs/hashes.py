"""Hashes of what was evaluated: they identify the files of a report, even after they were moved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


def label_hashes(files: Mapping[str, str | None]) -> dict[str, str]:
    """SHA-256 of the files "prediction" and "reference" of a case, as hexadecimal digits."""
    return {side: _sha256(Path(str(files[side]))) for side in ("prediction", "reference")}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
