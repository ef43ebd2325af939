"""Defects that are planted for the doctor to find: a table, and what the plants of a file are made with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ct_samples import Sample

#: Name of a case to its defect's code, the file that must be named, and what plants it.
PLANTED: dict[str, tuple[str, str, Callable[[Sample], Any]]] = {}


def plant(code: str, file: str) -> Callable[[Callable[[Sample], Any]], Callable[[Sample], Any]]:
    def register(function: Callable[[Sample], Any]) -> Callable[[Sample], Any]:
        PLANTED[function.__name__] = code, file.format(function.__name__), function
        return function

    return register


def cut(path: Path, share: float = 0.6) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def patch(path: Path, offset: int, content: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(bytes(whole))
