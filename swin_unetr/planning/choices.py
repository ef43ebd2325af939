"""A choice: a field of a recipe, its value and the reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


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
