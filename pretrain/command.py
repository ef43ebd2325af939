"""The command `swin-unetr pretrain`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pretrain.config import PretrainConfig
from pretrain.recipes import find_recipe, shipped_recipes
from swin_unetr.budget_arguments import BUDGET_OPTIONS, add_budget_arguments, recipe_of_schedule, take_budget
from swin_unetr.config_io import CommandParser, add_config_arguments, from_dict, read_yaml
from swin_unetr.provenance import resume_command, telling_how_to_go_on
from swin_unetr.warmup import keep_warmup_share

_USAGE = (
    "swin-unetr pretrain --config RECIPE --data PATH ... --output DIR [--exclude FILE] [--probe DIR] "
    "[--time TIME | --steps N] ..."
)
_DESCRIPTION = """Train an encoder, or a whole network, on scans without labels.

The folder of results holds config.yaml, run.json, metrics.csv, curves.png, pictures/, tensorboard/,
checkpoints/last.ckpt and the model folders best/ and last/, which finetune --init takes. Every field of a recipe can
be given as an option, such as --network.feature_size 24; with --config, the defaults below are those of the recipe."""
_DERIVED = ("network.in_channels", "network.num_classes", "trainer.early_stop_patience")
#: Options that are not fields of the configuration.
_OWN = ("data", "output", "exclude", "test", "cache", "probe", "init", "resume", "config", *BUDGET_OPTIONS)


def build_parser(recipe: dict[str, Any]) -> CommandParser:
    """The parser of the command, with the recipe's values as defaults."""
    parser = CommandParser(
        prog="swin-unetr pretrain", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    recipes = ", ".join(shipped_recipes())
    parser.add_argument("--config", help=f"recipe: a YAML file, or the name of a shipped one ({recipes})")
    kinds = "scans: folders (of images, DICOM series or a labelled layout), files, lists in JSON or CSV"
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help=kinds)
    parser.add_argument("--output", type=Path, required=True, help="folder of the run's results, new or to be resumed")
    parser.add_argument("--exclude", type=Path, metavar="FILE", help="list of scans to leave out, text or JSON")
    held = "folders with the scans of a later test; a scan that is in both is an error"
    parser.add_argument("--test", type=Path, nargs="+", default=[], metavar="DIR", help=held)
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder for preprocessed scans (default: scan-cache beside --output)"
    )
    parser.add_argument("--probe", type=Path, metavar="DIR", help="labelled folder to probe the encoder on")
    parser.add_argument("--init", type=Path, help="weights to start from: a model folder, or a published .pt file")
    parser.add_argument(
        "--resume", choices=["auto", "never"], default="never", help="auto: continue the run if it was stopped"
    )
    add_budget_arguments(parser)
    add_config_arguments(parser, PretrainConfig, recipe, hidden=_DERIVED)
    return parser


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, train, and print the result.

    Raises:
        ConfigError: wrong arguments or a wrong recipe.
        DataError: scans that cannot be used.
        KeyboardInterrupt: stopped by a signal; the command that goes on is printed.
    """
    with telling_how_to_go_on(resume_command("pretrain", argv)):
        return _main(argv)


def _main(argv: Sequence[str]) -> int:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", nargs="?")
    name = first.parse_known_args(list(argv))[0].config
    recipe: dict[str, Any] = {}
    path = recipe_of_schedule(argv) if name is None else find_recipe(name)
    if path is not None:
        recipe = read_yaml(path)
        from_dict(PretrainConfig, recipe, source=str(path))  # errors in the file name the file
    parser = build_parser(recipe)
    values = parser.parse_args(list(argv)).as_dict()
    own = {key: values.pop(key) for key in _OWN}
    take_budget(values, own, argv)
    resumed = own["output"] if own["resume"] == "auto" else None
    warmup = keep_warmup_share(values, parser.get_defaults().as_dict(), argv, resumed)
    config = from_dict(PretrainConfig, values, source="arguments")

    # Only now: torch takes seconds to import.
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from pretrain.run import pretrain

    del own["config"]
    if warmup and rank_zero_only.rank == 0:
        print(warmup, flush=True)
    result = pretrain(config, **{**own, "resume": own["resume"] == "auto"})
    if rank_zero_only.rank == 0:  # the processes of other devices run this too
        print(result.summary())
    return 0
