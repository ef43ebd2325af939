"""The options that say how long a training lasts: `--time`, `--steps` and `--schedule`. Knows no torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swin_unetr.config import BUDGETS
from swin_unetr.config_io import RUN_CONFIG, CommandParser
from swin_unetr.errors import ConfigError

#: Options, and the fields of the trainer that they set.
BUDGET_OPTIONS = {"time": "max_time", "steps": "max_steps", "schedule": "schedule"}


def add_budget_arguments(parser: CommandParser, *, repeats: bool = True) -> None:
    """Give a parser the options.

    Args:
        parser: takes them.
        repeats: whether the command can repeat the schedule of another run.
    """
    time = (
        "train for this time, such as 90min or 1h30min, from the start of the training to its last model; validations "
    )
    time += "are part of it, preprocessing the scans is not"
    parser.add_argument("--time", metavar="TIME", help=time)
    parser.add_argument("--steps", type=int, metavar="N", help="train for this many steps of the optimiser")
    if repeats:
        words = "repeat the schedule of this finished run step by step; without --config also its recipe"
        parser.add_argument("--schedule", metavar="RUN", help=words)


def take_budget(values: dict[str, Any], options: dict[str, Any], argv: Sequence[str]) -> None:
    """Put what the options say into the fields; it replaces a budget of the recipe.

    Args:
        values: of all fields, by group; changed in place.
        options: values of the options; None if not given. They are taken out.
        argv: of the command.

    Raises:
        ConfigError: options that contradict each other.
    """
    trainer = values["trainer"]
    asked = {f"--{option}": (field, options.pop(option)) for option, field in BUDGET_OPTIONS.items()}
    fields = [field for field in BUDGETS if _is_given(argv, f"--trainer.{field}")]
    asked |= {f"--trainer.{field}": (field, trainer[field]) for field in fields}
    asked = {option: setting for option, setting in asked.items() if setting[1] is not None}
    if len(asked) > 1:
        first, second, *_ = asked
        raise ConfigError(f"{second[2:]}: {first} and {second} both say how long to train; give one of them")
    for field, value in asked.values():
        value = str(Path(value).resolve()) if field == "schedule" else value
        trainer.update({**dict.fromkeys(BUDGETS), field: value})
    budget = next((field for field in BUDGETS if trainer[field] is not None), None)
    if budget is not None and _is_given(argv, "--trainer.max_epochs"):
        other = next(iter(asked), f"the recipe's trainer.{budget} (--trainer.{budget} null takes it away)")
        raise ConfigError(f"trainer.max_epochs: has no effect beside {other}; give one of them")


def recipe_of_schedule(argv: Sequence[str]) -> Path | None:
    """The configuration of the run whose schedule is to be repeated; None if none is."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--schedule", nargs="?")
    name = parser.parse_known_args(list(argv))[0].schedule
    if name is None:
        return None
    run = Path(name) if Path(name).is_dir() else Path(name).parent
    if not (run / RUN_CONFIG).is_file():
        raise ConfigError(f"schedule: {name} is not the folder of a run ({RUN_CONFIG} is missing)")
    return run / RUN_CONFIG


def _is_given(argv: Sequence[str], option: str) -> bool:
    return any(word.partition("=")[0] == option for word in argv)
