"""Parts of a batch: cases dealt to processes that cannot, or need not, talk to each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from swin_unetr.errors import ConfigError


class Named(Protocol):
    """A case of a batch, or a cell of a study."""

    @property
    def id(self) -> str:
        """Its name, which no other one has."""


T = TypeVar("T", bound=Named)

#: Which part, from 1, and of how many.
Part = tuple[int, int]

_PART = re.compile(r"(\d+)/(\d+)")


def parse_part(text: str) -> Part:
    """The part that "2/8" means.

    Raises:
        ConfigError: the text is no part.
    """
    match = _PART.fullmatch(text.strip())
    part = (int(match[1]), int(match[2])) if match else (0, 0)
    return check_part(part, text)


def check_part(part: Part, text: object = None) -> Part:
    """Return a part after a check.

    Raises:
        ConfigError: there is no such part.
    """
    number, of = part
    if not 1 <= number <= of:
        shown = text if text is not None else f"{number}/{of}"
        raise ConfigError(f"part: {str(shown)!r} is no part; give K/N with K from 1 to N, such as 2/8")
    return part


def part_of_array(environment: Mapping[str, str]) -> Part | None:
    """The part of a task of a SLURM job array; None outside of one, and in an array of a single task.

    Raises:
        ConfigError: the array's numbers are no even sequence, so that the part is unknown.
    """
    try:
        number, first, count = (int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "COUNT"))
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", "1")) or 1
    except (KeyError, ValueError):
        return None
    if count <= 1:
        return None
    index, off = divmod(number - first, step)
    if off or not 0 <= index < count:
        raise ConfigError(
            f"part: the {count} tasks of this SLURM array are not numbered in even steps, so that the part of task "
            f"{number} is unknown; give --part K/N, or --part 1/1 to do all of them here"
        )
    return index + 1, count


def deal(cases: Sequence[T], part: Part) -> list[T]:
    """The cases of a part: every N-th by name, so that each case is in one part, whoever lists them."""
    number, of = part
    mine = {case.id for case in sorted(cases, key=lambda case: case.id)[number - 1 :: of]}
    return [case for case in cases if case.id in mine]
