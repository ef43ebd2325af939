"""Messages that only the first of several processes prints: all of them run the same lines."""

from __future__ import annotations

import sys

from lightning.fabric.utilities.rank_zero import rank_zero_only


def is_first() -> bool:
    """Whether this is the first process, or the only one; known before they train together."""
    return bool(rank_zero_only.rank == 0)


def tell(*lines: str) -> None:
    """Print lines on the first process alone."""
    if is_first():
        print(*lines, sep="\n", flush=True)


def warn(*lines: str) -> None:
    """Print lines to stderr on the first process alone; empty ones are left out."""
    if is_first():
        for line in filter(None, lines):
            print(line, file=sys.stderr, flush=True)
