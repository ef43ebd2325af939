"""Writing files so that nothing half-written ever stands under a final name."""

from __future__ import annotations

import glob
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PARTIAL = ".partial-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and is removed when not.

    The suffixes of `path` are kept, since image libraries tell the format by them. What stood under `path`
    before is there until the very moment it is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_PARTIAL}{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_partial(path: Path) -> None:
    """Remove what a process that was killed left half-written of a file; nobody else may be writing it."""
    for left in path.parent.glob(f"{_PARTIAL}????????-{glob.escape(path.name)}"):
        left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:
    """Write JSON whole or not at all. NaN is written as null, infinity as "inf": JSON has neither."""
    write_text(path, json.dumps(plain_json(values), indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n")


def plain_json(values: Any) -> Any:
    """The values with what JSON lacks replaced: NaN by null, infinity by "inf"."""
    if isinstance(values, dict):
        return {key: plain_json(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [plain_json(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return None if math.isnan(values) else str(values)
    return values
