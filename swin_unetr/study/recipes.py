"""The configuration of a cell: the recipe of its arm with the arm's changes, on the budget of the study."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.config import FinetuneConfig
from finetune.recipes import find_recipe
from swin_unetr.config_io import from_dict, read_yaml
from swin_unetr.errors import ConfigError
from swin_unetr.study.config import PLANNED, ArmConfig, BudgetConfig


def recipe_of(name: str, arm: ArmConfig, plan: Path | None) -> FinetuneConfig:
    """The recipe of an arm with its changes.

    Args:
        name: of the arm, for messages.
        arm: says which recipe, and what is changed.
        plan: file of the plan, if the arm is planned.

    Raises:
        ConfigError: names the file or the changed field that is wrong.
    """
    path = find_recipe(arm.recipe) if plan is None else plan
    values = read_yaml(path)
    from_dict(FinetuneConfig, values, source=str(path))  # blames the file for what is wrong in the file
    return from_dict(FinetuneConfig, with_overrides(values, arm.overrides, name), source=f"arms.{name}.overrides")


def with_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A recipe with the values of dotted fields replaced; the recipe itself stays as it is.

    Raises:
        ConfigError: a field of something that is no group of fields.
    """
    changed = copy.deepcopy(dict(values))
    for path, value in overrides.items():
        *groups, field = path.split(".")
        inner = changed
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"arms.{name}.overrides: {path}: {group} is no group of fields")
        inner[field] = value
    return changed


def budget_overrides(config: FinetuneConfig, budget: BudgetConfig, points: int) -> FinetuneConfig:
    """The configuration with its training on the budget, and no choice by a validation.

    Args:
        config: the recipe; how long it would train does not matter.
        budget: steps or minutes.
        points: validations.
    """
    trainer = replace(
        config.trainer,
        max_steps=budget.steps,
        max_time=_time(budget),
        schedule=None,
        validations=points,
        early_stop_patience=None,
    )
    return replace(config, trainer=trainer)


def config_of(
    recipe: FinetuneConfig,
    budget: BudgetConfig,
    *,
    points: int,
    seed: int,
    store: Path,
    rate: float | None = None,
    unlabelled: tuple[str, ...] = (),
) -> FinetuneConfig:
    """The configuration that a training of a cell gets.

    Args:
        recipe: of the arm, with its changes.
        budget: of this training.
        points: validations.
        seed: of the training.
        store: where preprocessed scans are kept, if the recipe leaves that open.
        rate: the learning rate. If None, that of the recipe.
        unlabelled: paths of scans without labels.
    """
    config = budget_overrides(recipe, budget, points)
    optimizer = config.optimizer if rate is None else replace(config.optimizer, learning_rate=rate)
    return replace(
        config,
        optimizer=optimizer,
        unlabelled=replace(config.unlabelled, paths=unlabelled),
        trainer=replace(config.trainer, seed=seed),
        layout="auto",
        store=str(store.absolute()) if config.store == "auto" else config.store,
    )


def is_planned(arm: ArmConfig) -> bool:
    """Whether an arm has its recipe planned."""
    return arm.command is None and arm.recipe == PLANNED


def plan_arguments(budget: BudgetConfig) -> list[str]:
    """What `plan` is told of the budget."""
    if budget.steps is not None:
        return ["--steps", str(budget.steps)]
    return ["--time", str(_time(budget))]


def _time(budget: BudgetConfig) -> str | None:
    return None if budget.minutes is None else f"{60 * budget.minutes:.3f}s"
