"""From a study file to a study that can be run: what is missing or contradicts itself is said before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.recipes import find_recipe
from swin_unetr.config_io import from_dict, read_yaml
from swin_unetr.errors import ConfigError
from swin_unetr.study.config import PLANNED, StudyConfig
from swin_unetr.study.peer import check_command

_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
#: Fields of a data set that are paths, some of them only where they are no lists.
_PATHS = ("folder", "task", "test", "split", "cases", "held_back")


def read_study(path: Path, folders: Mapping[str, str] | None = None) -> StudyConfig:
    """The study that a file describes.

    Args:
        path: the file.
        folders: folders of data sets by name, which replace those of the file.

    Raises:
        ConfigError: an unknown field, a wrong or missing value, or a data set that the file does not name.
    """
    return complete(from_dict(StudyConfig, read_yaml(path), source=str(path)), folders or {}, str(path))


def complete(study: StudyConfig, folders: Mapping[str, str], source: str) -> StudyConfig:
    """The study with the folders that are given and with variables replaced, checked for what is missing.

    Args:
        study: as the file has it.
        folders: by the name of the data set.
        source: where the study comes from, for messages.

    Raises:
        ConfigError: names the field.
    """
    if unknown := [name for name in folders if name not in study.data]:
        raise ConfigError(f"data: {source} has no data set {unknown[0]!r}; it has {', '.join(study.data) or 'none'}")
    given = {name: replace(of, folder=folders.get(name, of.folder)) for name, of in study.data.items()}
    for kind, named in (("data", given), ("arms", study.arms)):
        if not named:
            raise ConfigError(f"{source}: {kind}: name at least one")
    if study.budget.steps is None and study.budget.minutes is None:
        raise ConfigError(f"{source}: budget: give steps or minutes; every arm is trained for the same")
    data = {}
    for name, of in given.items():
        if not of.folder:
            raise ConfigError(f"{source}: data.{name}.folder: is missing; give it there, or --data {name}=FOLDER")
        where = f"{source}: data.{name}"
        changed: dict[str, Any] = {
            key: _expanded(value, f"{where}.{key}") for key in _PATHS if isinstance(value := getattr(of, key), str)
        }
        data[name] = replace(of, **changed)
    for name, arm in study.arms.items():
        where = f"{source}: arms.{name}"
        if arm.command is not None:
            check_command(arm.command, study.budget, where)
        elif arm.recipe != PLANNED:
            find_recipe(arm.recipe)
    arms = {}
    for name, arm in study.arms.items():
        paths: dict[str, Any] = {key: of for key in ("init", "unlabelled") if (of := getattr(arm, key)) is not None}
        expanded = {key: _expanded(of, f"{source}: arms.{name}.{key}") for key, of in paths.items()}
        arms[name] = replace(arm, **dict[str, Any](expanded))
    return replace(study, data=data, arms=arms)


def parse_folders(given: Sequence[str]) -> dict[str, str]:
    """Folders by the name of the data set, from NAME=FOLDER.

    Raises:
        ConfigError: not of this form, or a name twice.
    """
    folders: dict[str, str] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ConfigError(f"data: {text!r} should be NAME=FOLDER, with the name that the study file has")
        if name in folders:
            raise ConfigError(f"data: {name} is given twice; give one folder")
        folders[name] = folder
    return folders


def _expanded(path: str, where: str) -> str:
    """A path with ~ and variables replaced."""
    found = os.path.expanduser(os.path.expandvars(path))
    if left := _VARIABLE.search(found):
        raise ConfigError(f"{where}: the variable {left[0]} in {path!r} is not set; set it, or write the folder")
    return found
