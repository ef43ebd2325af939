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
from swin_unetr.errors import ConfigError
from swin_unetr.provenance import resume_command, telling_how_to_go_on
from swin_unetr.warmup import keep_warmup_share

_USAGE = (
    "swin-unetr pretrain --data PATH ... --output DIR [--config RECIPE | --plan-only] [--exclude FILE] [--probe DIR] "
    "[--time TIME | --steps N] ..."
)
_DESCRIPTION = """Train an encoder, or a whole network, on scans without labels.

The folder of results holds config.yaml, run.json, metrics.csv, curves.png, pictures/, tensorboard/,
checkpoints/last.ckpt and the model folders best/ and last/, which finetune --init takes. Every field of a recipe can
be given as an option, such as --network.feature_size 24; with --config, the defaults below are those of the recipe.

Without --config, a plan is made for the scans and this machine: plan.yaml in the folder of results, a recipe with the
reason for every choice."""
_DERIVED = ("network.in_channels", "network.num_classes", "trainer.early_stop_patience")
#: Options that are not fields of the configuration.
_OWN = ("plan_only", "data", "output", "exclude", "test", "cache", "probe", "init", "resume", "config", *BUDGET_OPTIONS)


def build_parser(recipe: dict[str, Any]) -> CommandParser:
    """The parser of the command, with the recipe's values as defaults."""
    parser = CommandParser(
        prog="swin-unetr pretrain", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    recipes = ", ".join(shipped_recipes())
    parser.add_argument("--config", help=f"recipe: a YAML file, or the name of a shipped one ({recipes})")
    only = "make the plan, print it and write plan.yaml, but do not train"
    parser.add_argument("--plan-only", action="store_true", help=only)
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
    recipe = _recipe(argv)
    if recipe is None:
        return 0
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

    del own["config"], own["plan_only"]
    if warmup and rank_zero_only.rank == 0:
        print(warmup, flush=True)
    result = pretrain(config, **{**own, "resume": own["resume"] == "auto"})
    if rank_zero_only.rank == 0:  # the processes of other devices run this too
        print(result.summary())
    return 0


def _recipe(argv: Sequence[str]) -> dict[str, Any] | None:
    """The values of the recipe: of --config, of the run that is repeated, or of a plan; None if only that was asked."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", nargs="?")
    name = first.parse_known_args(list(argv))[0].config
    if name is None and {"-h", "--help"} & set(argv):
        return {}
    path = recipe_of_schedule(argv) if name is None else find_recipe(name)
    only = False
    if path is None:
        options = build_parser({}).parse_args(list(argv))  # what is wrong is said before anything is planned
        only = options.plan_only

        from pretrain.planning.planner import plan_of_run  # only now: torch takes seconds

        path = plan_of_run(
            options.data,
            options.output,
            exclude=options.exclude,
            layout=options.scans.layout,
            max_time=options.time,
            max_steps=options.steps,
        )
    elif "--plan-only" in argv:
        raise ConfigError("--plan-only: a recipe was given, so nothing is planned; leave out one of them")
    recipe = read_yaml(path)
    from_dict(PretrainConfig, recipe, source=str(path))  # errors in the file name the file
    return None if only else recipe
