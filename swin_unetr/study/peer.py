"""The command of another program, MONAI or nnU-Net for example, as an arm of a study."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from swin_unetr.errors import ConfigError
from swin_unetr.study.config import BudgetConfig

#: Placeholder: what it stands for.
PLACEHOLDERS = {
    "data": "folder with cases.json and task.yaml of all cases, the test cases too",
    "training_list": "JSON file: cases, a list of case, image (a path, or a list of those of the channels), label and "
    "patient; and task, what the labels mean",
    "test_images": "folder with the images of the test cases: CASE.nii.gz, of several channels CASE_0000.nii.gz and on",
    "task": "task.yaml: the structures and their label values",
    "output": "folder that is the program's own; it must leave predictions/CASE.nii.gz there",
    "minutes": "the budget in minutes",
    "steps": "the budget in steps",
    "seed": "seed of the training",
    "cores": "cores that this process may use",
    "python": "this program's Python",
}
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def check_command(command: str, budget: BudgetConfig, where: str) -> None:
    """Refuse a command that cannot be run.

    Args:
        command: as the study file has it.
        budget: says whether there are minutes or steps to insert.
        where: the arm, for messages.

    Raises:
        ConfigError: quotes without an end, an unknown placeholder, one of the budget that the study does not have, or
            no place for the results.
    """
    names = {name for word in _words(command, where) for name in _names(word)}
    if unknown := sorted(names - PLACEHOLDERS.keys()):
        raise ConfigError(
            f"{where}.command: {{{unknown[0]}}} is no placeholder; there are {', '.join(PLACEHOLDERS)} ({{{{ for a "
            "brace)"
        )
    for name in ("minutes", "steps"):
        if name in names and getattr(budget, name) is None:
            raise ConfigError(f"{where}.command: {{{name}}} is used, but the budget of the study is not in {name}")
    if "output" not in names:
        raise ConfigError(f"{where}.command: {{output}} is not in it, so that the predictions have no place")


def arguments_of(command: str, values: Mapping[str, str], where: str = "command") -> list[str]:
    """The arguments of the process: the command is divided first, so that a value is never divided or interpreted.

    Args:
        command: as the study file has it.
        values: by placeholder.
        where: the arm, for messages.
    """

    def insert(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else values[match[1]]

    return [_PLACE.sub(insert, word) for word in _words(command, where)]


def _words(command: str, where: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"{where}.command: cannot be divided into words ({error}); close its quotes") from error
    if not words:
        raise ConfigError(f"{where}.command: is empty")
    return words


def _names(word: str) -> list[str]:
    return [match[1] for match in _PLACE.finditer(word) if match[1] is not None]
