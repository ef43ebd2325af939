"""The command `swin-unetr doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_unetr.config_io import CommandParser
from swin_unetr.datasets.arguments import add_layout_argument
from swin_unetr.provenance import command

_DESCRIPTION = """Read every file of a data set once and say what is wrong with it, file by file, with the
remedy; and what training would need from this machine. Exit code 0 without errors, 1 with errors; warnings do not
count."""


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, diagnose, print and write what was found; gives the exit code."""
    arguments = _parser().parse_args(list(argv))

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from swin_unetr.doctor.diagnosis import diagnose
    from swin_unetr.doctor.report import earlier_survey, keep_files_of_user, write_diagnosis
    from swin_unetr.doctor.terminal import print_diagnosis

    output = arguments.output or Path("doctor") / (arguments.data.resolve().name or "data")
    keep_files_of_user(output)
    stderr = Console(stderr=True)
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        bar = progress.add_task("cases", total=None)
        diagnosis = diagnose(
            arguments.data,
            layout=arguments.layout,
            workers=arguments.workers,
            tolerance_mm=arguments.tolerance,
            known=None if arguments.anew else earlier_survey(output),
            on_case=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if not arguments.no_machine:
        from finetune.trial import examine_training
        from swin_unetr.doctor.findings import Finding

        recipe = arguments.plan or arguments.config
        with stderr.status("one training step"):
            machine, obstacles = examine_training(diagnosis.dataset, diagnosis.survey, output, recipe)
        diagnosis = diagnosis.on(machine, [Finding(of.code, of.words) for of in obstacles])
    paths = write_diagnosis(diagnosis, output)
    print_diagnosis(diagnosis)
    print(f"report: {paths[0]}, for a browser: {paths[1]}")
    if not diagnosis.errors and diagnosis.survey.task is not None:
        print(f"next: {command(['plan', arguments.data, '--survey', paths[2]])}")
    return diagnosis.exit_code


def _parser() -> CommandParser:
    parser = CommandParser(prog="swin-unetr doctor", description=_DESCRIPTION)
    parser.add_argument("data", type=Path, help="folder of a data set in any known layout, or a file that lists it")
    add_layout_argument(parser, "the folder")
    help_of_output = "folder for diagnosis.json, doctor.html and survey.json; default doctor/NAME"
    parser.add_argument("--output", type=Path, help=help_of_output)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: as cores and memory allow")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.05,
        metavar="MM",
        help="grids whose corners are this close count as one",
    )
    recipe = parser.add_mutually_exclusive_group()
    recipe.add_argument("--plan", type=Path, help="plan.yaml of the training that the machine is checked for")
    recipe.add_argument("--config", help="a recipe instead, by its file or name; default: a planned one")
    parser.add_argument("--no-machine", action="store_true", help="check only the data, and run no training step")
    parser.add_argument("--anew", action="store_true", help="read all files again, also those that have not changed")
    return parser
