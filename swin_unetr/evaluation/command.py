"""The command `swin-unetr evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_unetr.config_io import CommandParser
from swin_unetr.evaluation.inputs.arguments import add_evaluation_arguments, evaluation_options


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, evaluate, print the table; gives the exit code."""
    arguments = _parser().parse_args(list(argv))
    options = evaluation_options(arguments)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from swin_unetr.evaluation.report.tables import print_result
    from swin_unetr.evaluation.run import evaluate

    stderr = Console(stderr=True)
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        bar = progress.add_task("cases", total=None)
        result = evaluate(
            arguments.predictions,
            arguments.references,
            output=arguments.output,
            strict=arguments.strict,
            images=arguments.images,
            pictures=arguments.pictures,
            on_case=lambda done, total: progress.update(bar, completed=done, total=total),
            **options,
        )
    print_result(result)
    print(f"report: {arguments.output / 'report.md'}, for a browser: {arguments.output / 'report.html'}")
    return result.exit_code


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="swin-unetr evaluate",
        description="Overlap and distances of predictions and references, per case and structure. A case that cannot "
        "be evaluated is listed and counted beside every mean, and the exit code is 1.",
    )
    parser.add_argument("predictions", type=Path, help="folder of <case id>.nii.gz, as predict writes it, or a file")
    parser.add_argument("references", type=Path, help="folder of label files, root of a data set, or a file")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for results.json, results.csv, report.md, report.html; for BraTS also brats.csv",
    )
    add_evaluation_arguments(parser)
    parser.add_argument("--strict", action="store_true", help="a case that cannot be evaluated is an error")
    parser.add_argument(
        "--images", type=Path, help="data set or folder of the scans, for pictures; default: those of the references"
    )
    parser.add_argument("--pictures", type=int, default=20, metavar="N", help="cases with pictures, the worst first")
    return parser
