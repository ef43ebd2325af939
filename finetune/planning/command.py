"""The command `swin-unetr plan`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.planning import PLAN, PLANNED
from finetune.planning.origin import refuse_edited
from swin_unetr.config_io import CommandParser
from swin_unetr.datasets import LAYOUTS, read_dataset
from swin_unetr.errors import ConfigError
from swin_unetr.provenance import command

if TYPE_CHECKING:
    from finetune.planning.plan import Plan
    from swin_unetr.survey.facts import Survey

_USAGE = "swin-unetr plan DATA [--output DIR] [--gpu-memory 24GB | --memory 8GB] [--survey FILE] [--overwrite]"
_DESCRIPTION = """Look at a labelled data set and choose how to train on it.

The output folder takes plan.yaml, a recipe with the reason of every choice beside it, to be read, changed and trained
with (swin-unetr finetune --plan plan.yaml --data DATA), and fingerprint.json, what the choices follow from."""


def build_parser() -> CommandParser:
    """The parser of the command."""
    parser = CommandParser(
        prog="swin-unetr plan", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of scans and labels")
    add("--layout", choices=["auto", *LAYOUTS], default="auto", help="of DATA; auto tells it by the files")
    add("--output", type=Path, default=Path(), help="folder for plan.yaml and fingerprint.json; by default this one")
    add("--gpu-memory", metavar="SIZE", help="plan for a GPU of so much memory, such as 24GB; by default the one here")
    add("--memory", metavar="SIZE", help="plan for a processor, and so much memory for the process, such as 8GB")
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
    plan, path = plan_folder(
        arguments.data,
        arguments.output,
        layout=arguments.layout,
        memory=_bytes(arguments.memory, "memory"),
        gpu_memory=_bytes(arguments.gpu_memory, "gpu_memory"),
        survey_file=arguments.survey,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )
    print(*plan.headline(), plan.table(), f"plan: {path}", sep="\n")
    words: list[str | Path] = ["finetune", "--plan", path, "--data", arguments.data, "--output", "RUN"]
    words += [] if plan.data.patients > 1 else ["--fold", "all"]  # of a single patient nothing can be held back
    print(f"train with it: {command(words)}")
    return 0


def plan_folder(
    data: Path,
    output: Path,
    *,
    layout: str = "auto",
    memory: int | None = None,
    gpu_memory: int | None = None,
    survey_file: Path | None = None,
    workers: int = 0,
    overwrite: bool = False,
) -> tuple[Plan, Path]:
    """Survey a data set, plan for it, and write both files; gives the plan and where it is.

    Args:
        data: folder of scans and labels.
        output: folder for the files.
        layout: of `data`.
        memory: bytes of the process on a processor.
        gpu_memory: bytes of a GPU.
        survey_file: an earlier survey.
        workers: processes that read.
        overwrite: whether a plan that a person changed may be replaced.

    Raises:
        ConfigError: options that do not go together, too little memory, or a plan that was changed.
        DataError: nothing to train on.
    """
    if memory is not None and gpu_memory is not None:
        raise ConfigError("memory: --memory plans for a processor and --gpu-memory for a GPU; give one of them")
    if not overwrite:
        refuse_edited(output / PLAN)
    from finetune.planning.planner import plan_data, this_machine, write_plan

    machine = this_machine(memory=memory, gpu_memory=gpu_memory)  # before the survey makes this process larger
    dataset = read_dataset(data, layout=layout, require_labels=True)
    plan = plan_data(_survey(dataset, survey_file, workers), machine)
    return plan, write_plan(plan, output)


def plan_of_run(data: Path, run: Path, *, layout: str) -> Path:
    """The plan that a run without a recipe follows: the one in its folder, or a new one for the machine at hand.

    Args:
        data: folder of scans and labels.
        run: folder of the run's results.
        layout: of `data`.

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
        raise ConfigError(
            f"plan: several processes cannot plan together; run {command(['plan', data, '--output', run])} before"
        )
    plan, path = plan_folder(data, run, layout=layout)
    print(*plan.headline(), plan.table(), f"plan: {path}", sep="\n", flush=True)
    return path


def _survey(dataset: Any, known: Path | None, workers: int) -> Survey:
    from rich.progress import Progress

    from swin_unetr.survey.run import survey
    from swin_unetr.survey.survey_file import read_survey

    before = None if known is None else read_survey(known)
    with Progress(disable=not sys.stdout.isatty()) as progress:
        row = progress.add_task("reading scans", total=len(dataset.cases))
        return survey(
            dataset, workers=workers, known=before, on_case=lambda done, _: progress.update(row, completed=done)
        )


def _bytes(text: str | None, field: str) -> int | None:
    from swin_unetr.machine import parse_size

    return None if text is None else parse_size(text, field)
