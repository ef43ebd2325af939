"""Hashes of what was evaluated: they identify the files of a report, even after they were moved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path


def label_hashes(files: Mapping[str, str | None]) -> dict[str, str]:
    """SHA-256 of the files "prediction" and "reference" of a case, as hexadecimal digits."""
    return {side: _sha256(Path(str(files[side]))) for side in ("prediction", "reference")}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
