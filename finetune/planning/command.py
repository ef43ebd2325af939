"""The command `swin-unetr plan`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from finetune.config import UnlabelledConfig
from finetune.planning import PLAN, PLANNED
from swin_unetr.budget_arguments import add_budget_arguments
from swin_unetr.config_io import CommandParser
from swin_unetr.datasets.arguments import add_layout_argument
from swin_unetr.datasets.union import Folders, folders_of
from swin_unetr.errors import ConfigError
from swin_unetr.provenance import command

_USAGE = (
    "swin-unetr plan DATA [DATA ...] [--output DIR] [--gpu-memory 24GB | --memory 8GB] "
    "[--time TIME | --steps N] [--survey FILE] [--overwrite]"
)
_DESCRIPTION = """Look at a labelled data set and choose how to train on it.

The output folder receives plan.yaml, a recipe with the reason for every choice, which you can read, change and train
with (swin-unetr finetune --plan plan.yaml --data DATA), and fingerprint.json, the facts behind the choices."""


def build_parser() -> CommandParser:
    """The parser of the command."""
    parser = CommandParser(
        prog="swin-unetr plan", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    add = parser.add_argument
    several = "folder of scans and labels; several are joined, their structures matched by name"
    add("data", type=Path, nargs="+", metavar="DATA", help=several)
    add_layout_argument(parser, "DATA")
    add("--output", type=Path, default=Path(), help="folder for plan.yaml and fingerprint.json; by default here")
    add(
        "--gpu-memory",
        metavar="SIZE",
        help="plan for a GPU with this memory, such as 24GB; by default for this machine",
    )
    add("--memory", metavar="SIZE", help="plan for a processor, and this memory for the process, such as 8GB")
    add_budget_arguments(parser, repeats=False)
    add("--survey", type=Path, help="survey.json that `doctor` wrote: files that are unchanged are not read again")
    add("--overwrite", action="store_true", help="replace a plan.yaml that was changed by hand")
    add("--workers", type=int, default=0, help="processes that read; 0 for as many as suit cores and memory")
    return parser


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, plan, write and show.

    Raises:
        ConfigError: wrong arguments, or too little memory.
        DataError: nothing to train on.
    """
    arguments = build_parser().parse_args(list(argv))
    from finetune.planning.planner import plan

    made = plan(
        arguments.data,
        arguments.output,
        layout=arguments.layout,
        memory=arguments.memory,
        gpu_memory=arguments.gpu_memory,
        survey_file=arguments.survey,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
        max_time=arguments.time,
        max_steps=arguments.steps,
    )
    path = arguments.output / PLAN
    print(*made.headline(), made.table(), f"plan: {path}", sep="\n")
    words: list[str | Path] = ["finetune", "--plan", path, "--data", *arguments.data, "--output", "RUN"]
    words += [] if made.data.patients > 1 else ["--fold", "all"]  # of a single patient nothing can be held back
    print(f"train with it: {command(words)}")
    return 0


def plan_of_run(
    data: Folders,
    run: Path,
    *,
    layout: str,
    max_time: str | None = None,
    max_steps: int | None = None,
    unlabelled: UnlabelledConfig | None = None,
) -> Path:
    """The plan that a run without a recipe follows: the one in its folder, or a new one for this machine.

    Args:
        data: folder of scans and labels, or several.
        run: folder of the run's results.
        layout: of `data`.
        max_time: time that the training may take. If this and `max_steps` are None, the plan decides.
        max_steps: steps that it makes.
        unlabelled: scans without labels that each step sees, too. If None, none.

    Raises:
        ConfigError: several processes would plan at a time, or the folder holds something else.
        DataError: nothing to train on.
    """
    from swin_unetr.training.run_folder import CONFIG

    for left in (run / PLAN, run / CONFIG):  # planned before; begun with a recipe
        if left.is_file():
            return left
    if run.exists() and (not run.is_dir() or {path.name for path in run.iterdir()} - set(PLANNED)):
        raise ConfigError(f"{run}: is not empty, and holds no plan; give --config or --plan, or another --output")
    if any(int(os.environ.get(name) or 1) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS")):
        before = command(["plan", *folders_of(data), "--output", run])
        raise ConfigError(f"plan: several processes cannot plan together; run {before} before")
    from finetune.planning.planner import plan

    made = plan(data, run, layout=layout, max_time=max_time, max_steps=max_steps, unlabelled=unlabelled)
    print(*made.headline(), made.table(), f"plan: {run / PLAN}", sep="\n", flush=True)
    return run / PLAN
