"""The command `swin-unetr finetune`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from finetune.config import FinetuneConfig
from finetune.recipes import find_recipe, shipped_recipes
from swin_unetr.configuration import CommandParser, add_config_arguments, from_dict, read_yaml

_USAGE = "swin-unetr finetune --config RECIPE --data DIR --output DIR [--fold K] [--init MODEL] [--resume auto] ..."
_DESCRIPTION = """Train on a labelled folder of scans.

The folder of results takes config.yaml, run.json, folds.json, metrics.csv, tensorboard/, checkpoints/last.ckpt and
the model folders best/ and last/. Every field of a recipe can be given as an option, such as
--network.feature_size 24; with --config, the defaults below are the recipe's."""
#: Fields that follow from the data's task and from other fields.
_DERIVED = ("network.in_channels", "network.num_classes", "inference.mirror_axes")
#: Options that are not fields of the configuration.
_OWN = ("data", "output", "fold", "folds", "init", "resume", "config")


def build_parser(recipe: dict[str, Any]) -> CommandParser:
    """The parser of the command, with the recipe's values as defaults."""
    parser = CommandParser(
        prog="swin-unetr finetune", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    recipes = ", ".join(shipped_recipes())
    parser.add_argument("--config", help=f"recipe: a YAML file, or the name of a shipped one ({recipes})")
    parser.add_argument("--data", type=Path, required=True, help="folder of scans and labels; see --layout")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run's results, new or to be resumed")
    held_back = "fold that is held back for validation; all: none is"
    parser.add_argument("--fold", type=int | Literal["all"], default=0, metavar="K|all", help=held_back)
    parser.add_argument("--folds", type=Path, help="split to use, a folds.json; else the cases are dealt out, seeded")
    parser.add_argument("--init", type=Path, help="weights to start from: a model folder, or a published .pt file")
    parser.add_argument(
        "--resume", choices=["auto", "never"], default="never", help="auto: go on from where the run stopped, if it did"
    )
    add_config_arguments(parser, FinetuneConfig, recipe, hidden=_DERIVED)
    return parser


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, train, and say what came of it.

    Raises:
        ConfigError: wrong arguments or a wrong recipe.
        DataError: scans that cannot be used.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", nargs="?")
    name = first.parse_known_args(list(argv))[0].config
    recipe: dict[str, Any] = {}
    if name is not None:
        path = find_recipe(name)
        recipe = read_yaml(path)
        from_dict(FinetuneConfig, recipe, source=str(path))  # blames the file for what is wrong in the file
    values = build_parser(recipe).parse_args(list(argv)).as_dict()
    own = {key: values.pop(key) for key in _OWN}
    config = from_dict(FinetuneConfig, values, source="arguments")

    # Only now: torch takes seconds to import.
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from finetune.run import finetune

    try:
        result = finetune(
            config,
            data=own["data"],
            output=own["output"],
            fold=own["fold"],
            folds=own["folds"],
            init=own["init"],
            resume=own["resume"] == "auto",
        )
    except KeyboardInterrupt:
        print(f"to go on: {_resume_command(argv)}", file=sys.stderr)
        raise
    if rank_zero_only.rank == 0:  # the processes of other devices run this too
        print(result.summary())
    return 0


def _resume_command(argv: Sequence[str]) -> str:
    """The command line that goes on from here."""
    arguments = list(argv)
    if "--resume" in arguments:
        at = arguments.index("--resume")
        del arguments[at : at + 2]
    return shlex.join([os.path.basename(sys.argv[0]) or "swin-unetr", "finetune", *arguments, "--resume", "auto"])
