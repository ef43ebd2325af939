"""A choice: a field of a recipe, its value and the reason."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

_WIDTH = 120


@dataclass(frozen=True)
class Choice:
    """One field of a recipe."""

    #: Dotted, such as "network.window_size".
    path: str
    value: Any
    reason: str


def as_recipe(choices: Iterable[Choice]) -> dict[str, Any]:
    """The values as a recipe holds them, in nested groups."""
    recipe: dict[str, Any] = {}
    for choice in choices:
        group, _, field = choice.path.rpartition(".")
        (recipe.setdefault(group, {}) if group else recipe)[field] = choice.value
    return recipe


def recipe_text(headline: Iterable[str], choices: Iterable[Choice]) -> str:
    """The values as YAML, with the reason of every choice beside it.

    Args:
        headline: comments above.
        choices: in the order of the recipe.
    """
    groups: dict[str, list[Choice]] = {}
    for choice in choices:
        groups.setdefault(choice.path.rpartition(".")[0], []).append(choice)
    lines = [f"# {line}" for line in headline]
    for group, members in groups.items():
        lines += [f"{group}:"] if group else []
        lines += [line for choice in members for line in _lines(choice, "  " if group else "")]
    return "\n".join(lines) + "\n"


def _lines(choice: Choice, indent: str) -> Iterator[str]:
    """A field and its reason: beside it where they fit into a line, else above."""
    value = yaml.safe_dump(choice.value, default_flow_style=True, width=math.inf, sort_keys=False)
    field = f"{indent}{choice.path.rpartition('.')[2]}: {value.removesuffix('...' + chr(10)).strip()}"
    reason = " ".join(choice.reason.split())
    if len(field) + len(reason) + 4 <= _WIDTH:
        yield f"{field}  # {reason}"
    else:
        yield from textwrap.wrap(reason, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        yield field
