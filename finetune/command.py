"""The command `swin-unetr finetune`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetune.config import FinetuneConfig, UnlabelledConfig
from finetune.planning.command import plan_of_run
from finetune.planning.origin import note_of_origin
from finetune.recipes import find_recipe, shipped_recipes
from swin_unetr.budget_arguments import BUDGET_OPTIONS, add_budget_arguments, recipe_of_schedule, take_budget
from swin_unetr.config_io import CommandParser, add_config_arguments, from_dict, read_yaml
from swin_unetr.errors import ConfigError
from swin_unetr.provenance import resume_command, telling_how_to_go_on
from swin_unetr.warmup import keep_warmup_share

if TYPE_CHECKING:
    from finetune.cross_report import CrossValidationResult
    from finetune.run import FinetuneResult

_USAGE = (
    "swin-unetr finetune --data DIR [DIR ...] --output DIR [--config RECIPE | --plan PLAN] [--fold K | --folds all] "
    "[--time TIME | --steps N] [--init MODEL] [--unlabelled DIR [DIR ...]] [--resume auto] ..."
)
_DESCRIPTION = """Train on a labelled folder of scans.

The folder of results receives config.yaml, run.json, folds.json, metrics.csv, tensorboard/, checkpoints/last.ckpt and
the model folders best/ and last/: best/ has the last epoch too, unless training collapsed. Every field of a recipe can
be given as an option, such as --network.feature_size 24; with --config, the defaults below are the recipe's. Without a
recipe or a plan, the command makes a plan for this data and this machine, and leaves plan.yaml and fingerprint.json in
the folder of results.

The data set's own description says what label values mean. In any layout, a task.yaml in its folder can say it instead:
name, modality, channels, and targets with their labels and the value to write_as. There, other_labels lists values that
are not to be learnt (they count as background), ignore_label is the value of voxels that nobody has labelled (they
count nowhere), and pairs names structures that are mirror images of each other: [[left kidney, right kidney]]. With
absent: not_looked_for, nobody looked for a structure that the label file of a case lacks; a column labelled in a
cases.csv or patients.csv says for each case which structures were looked for. Of the others the network learns nothing
there.

With --unlabelled DIR the network also learns from scans without labels: it is to agree with the average of its weights
(unlabelled.weight, unlabelled.confidence and others). A scan of the validation among them is refused, whatever its
name. Weights that --init carries over can be trained slower than fresh ones, or later (transfer.rate and others).

With --folds all every fold is trained, in fold_0/, fold_1/ and so on, and every case is predicted by the model that did
not see it: out_of_fold/, their report in report/, the summary in cross_validation.md. `predict` uses the folder as
the ensemble of its folds."""
#: Fields that follow from the data's task and from other fields.
_DERIVED = ("network.in_channels", "network.num_classes", "inference.mirror_axes", "inference.mirror_pairs")
#: Short for --unlabelled.paths.
_UNLABELLED = "--unlabelled"
#: Value of --folds that is no file.
_ALL = "all"
#: Options that are not fields of the configuration.
_OWN = ("data", "output", "fold", "folds", "split", "parallel", "init", "init_preprocess", "resume", "config", "plan",
        *BUDGET_OPTIONS)  # fmt: skip


def build_parser(recipe: dict[str, Any]) -> CommandParser:
    """The parser of the command, with the recipe's values as defaults."""
    parser = CommandParser(
        prog="swin-unetr finetune", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    recipes = ", ".join(shipped_recipes())
    parser.add_argument("--config", help=f"recipe: a YAML file, or the name of a shipped one ({recipes})")
    parser.add_argument("--plan", help="plan.yaml that `swin-unetr plan` wrote, as it is or changed")
    several = "folder of scans and labels, see --layout; several are joined, their structures matched by name"
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help=several)
    parser.add_argument("--output", type=Path, required=True, help="folder of the run's results, new or to be resumed")
    held_back = "fold that is held back for validation; by default 0; all: no fold is"
    parser.add_argument("--fold", type=int | Literal["all"] | None, metavar="K|all", help=held_back)
    parser.add_argument(
        "--folds",
        metavar="all|FILE",
        help="all: train every fold, evaluate out of fold, and join them; FILE: split to use, a folds.json; by "
        "default a seeded random split that keeps the scans of a patient together",
    )
    parser.add_argument("--split", type=Path, metavar="FILE", help="split to use with --folds all")
    parser.add_argument(
        "--parallel", type=int, metavar="N", help="with --folds all: folds trained at a time; on GPUs each takes one"
    )
    parser.add_argument("--init", type=Path, help="weights to start from: a model folder, or a published .pt file")
    whose = "take: preprocess scans as those of --init were; keep: as configured; by default keep, with a warning"
    parser.add_argument("--init-preprocess", choices=["take", "keep"], help=whose)
    parser.add_argument(
        "--resume", choices=["auto", "never"], default="never", help="auto: go on from where the run stopped, if it did"
    )
    add_budget_arguments(parser)
    add_config_arguments(parser, FinetuneConfig, recipe, hidden=_DERIVED)
    return parser


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, train, and print the result.

    Raises:
        ConfigError: wrong arguments or a wrong recipe.
        DataError: scans that cannot be used.
        KeyboardInterrupt: stopped by a signal; the command that goes on is printed.
    """
    with telling_how_to_go_on(resume_command("finetune", argv)):
        return _main(argv)


def _main(argv: Sequence[str]) -> int:
    argv = with_paths(argv)
    recipe, path, named = _recipe(argv)
    parser = build_parser(recipe)
    values = parser.parse_args(list(argv)).as_dict()
    own = {key: values.pop(key) for key in _OWN}
    take_budget(values, own, argv)
    resumed = own["output"] if own["resume"] == "auto" else None
    warmup = keep_warmup_share(values, parser.get_defaults().as_dict(), argv, resumed)
    config = from_dict(FinetuneConfig, values, source="arguments")
    _check_folds(own)
    note = "" if path is None else note_of_origin(path, own["data"], config.layout, named=named)

    # Only now: torch takes seconds to import.
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    from finetune.cross_validation import cross_validate
    from finetune.run import finetune
    from swin_unetr.training.first_process import warn

    warn(note)
    if warmup and rank_zero_only.rank == 0:
        print(warmup, flush=True)
    common = {key: own[key] for key in ("data", "output", "init", "init_preprocess")}
    common["plan_note"] = note
    common["resume"] = own["resume"] == "auto"
    result: CrossValidationResult | FinetuneResult
    if own["folds"] == _ALL:
        result = cross_validate(config, folds=own["split"], parallel=own["parallel"] or 1, **common)
    else:
        result = finetune(config, fold=own["fold"] or 0, folds=own["folds"] or own["split"], **common)
    if rank_zero_only.rank == 0:  # the processes of other devices run this too
        print(result.summary())
    return 0


def with_paths(argv: Sequence[str]) -> list[str]:
    """The arguments, with `--unlabelled DIR [DIR ...]` as the field that it is.

    Raises:
        ConfigError: no folder behind it.
    """
    equals = f"{_UNLABELLED}="
    found = [part for word in argv for part in (word.split("=", 1) if word.startswith(equals) else [word])]
    if _UNLABELLED not in found:
        return found
    at = found.index(_UNLABELLED)
    end = next((place for place in range(at + 1, len(found)) if found[place].startswith("-")), len(found))
    if not (paths := found[at + 1 : end]):
        raise ConfigError(f"unlabelled: {_UNLABELLED} needs a folder of scans; name it, or leave it out")
    return [*found[:at], f"{_UNLABELLED}.paths", json.dumps(paths), *found[end:]]


def _recipe(argv: Sequence[str]) -> tuple[dict[str, Any], Path | None, bool]:
    """The values of the recipe or plan that is named, or that lies in the run folder; else of a new plan.

    With them its file (None if only help was asked for), and whether it was named.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--config", "--plan"):
        first.add_argument(option, nargs="?")
    named = first.parse_known_args(list(argv))[0]
    if named.config is not None and named.plan is not None:
        raise ConfigError("plan: a plan is a recipe: give --config or --plan, not both")
    if named.config is not None or named.plan is not None:
        path = find_recipe(named.config or named.plan)
    elif {"-h", "--help"} & set(argv):
        return {}, None, False
    else:
        arguments = build_parser({}).parse_args(list(argv))  # what is wrong is said before anything is planned
        beside = UnlabelledConfig(paths=tuple(arguments.unlabelled.paths), batch_size=arguments.unlabelled.batch_size)
        path = recipe_of_schedule(argv) or plan_of_run(
            arguments.data,
            arguments.output,
            layout=arguments.layout,
            max_time=arguments.time,
            max_steps=arguments.steps,
            unlabelled=beside,
        )
    recipe = read_yaml(path)
    from_dict(FinetuneConfig, recipe, source=str(path))  # blames the file for what is wrong in the file
    return recipe, path, bool(named.config or named.plan)


def _check_folds(own: dict[str, Any]) -> None:
    """Refuse options about folds that do not go together."""
    if own["folds"] == _ALL and own["fold"] is not None:
        raise ConfigError("folds: --folds all trains every fold; leave out --fold")
    if own["folds"] not in (None, _ALL) and own["split"] is not None:
        raise ConfigError("split: --split and --folds both name a split; give one of them")
    if own["parallel"] is not None and (own["folds"] != _ALL or own["parallel"] < 1):
        raise ConfigError(f"parallel: goes with --folds all, and must be at least 1, got {own['parallel']}")
