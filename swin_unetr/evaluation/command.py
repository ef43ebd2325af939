"""The command `swin-unetr evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from swin_unetr.configuration import CommandParser
from swin_unetr.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, evaluate, print the table; gives the exit code."""
    arguments = _parser().parse_args(list(argv))
    if arguments.task is not None and arguments.labels is not None:
        raise ConfigError("labels: --task and --labels both say what the labels mean; give one of them")

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from swin_unetr.evaluation.label_tasks import parse_labels
    from swin_unetr.evaluation.run import evaluate
    from swin_unetr.evaluation.tables import print_result

    stderr = Console(stderr=True)
    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        bar = progress.add_task("cases", total=None)
        result = evaluate(
            arguments.predictions,
            arguments.references,
            task=arguments.task if arguments.labels is None else parse_labels(arguments.labels),
            output=arguments.output,
            folds=arguments.folds,
            fold=arguments.fold,
            cases=arguments.cases,
            empty=arguments.empty,
            empty_distance=arguments.empty_distance,
            tolerance_mm=_tolerances(arguments.tolerance_mm),
            metrics=arguments.metrics,
            strict=arguments.strict,
            workers=arguments.workers,
            images=arguments.images,
            pictures=arguments.pictures,
            on_case=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    print_result(result)
    print(f"report: {arguments.output / 'report.md'}, for a browser: {arguments.output / 'report.html'}")
    return result.exit_code


def _tolerances(words: Sequence[str]) -> float | dict[str, float]:
    """One number, or numbers by name."""
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        pairs = (word.rpartition("=") for word in words)
        return {name: float(number) for name, _, number in pairs}
    except ValueError:
        raise ConfigError(f"tolerance_mm: {' '.join(words)!r} is neither a number nor NAME=MM; correct it") from None


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="swin-unetr evaluate",
        description="Dice of predictions against references, per case and structure. A case that cannot be evaluated "
        "is listed and counted beside every mean, and the exit code is 1.",
    )
    parser.add_argument("predictions", type=Path, help="folder of <case id>.nii.gz, as predict writes it, or a file")
    parser.add_argument(
        "references", type=Path, help="folder of label files, root of a data set (Decathlon, BTCV, BraTS), or a file"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for results.json, results.csv, report.md, report.html"
    )
    parser.add_argument(
        "--task",
        help="what the labels mean: btcv, brats (the year is told from the data), brats2013, brats2021, brats2023, or "
        "a model folder, run folder, model.json or dataset.json; otherwise told by the predictions or the data set",
    )
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME=VALUE", help="the same by hand; NAME=VALUE,VALUE for a region of several"
    )
    parser.add_argument("--folds", type=Path, help="split file (folds.json); with --fold: its validation cases only")
    parser.add_argument("--fold", type=int, help="which fold of --folds, from 0")
    parser.add_argument("--cases", nargs="+", metavar="ID", help="evaluate these cases only")
    parser.add_argument(
        "--empty",
        choices=("nan", "brats"),
        default="nan",
        help="Dice of a structure in neither mask: nan (undefined, counted apart) or brats (1)",
    )
    parser.add_argument(
        "--empty-distance",
        choices=("inf", "diagonal", "penalty"),
        default="inf",
        help="distances where one mask is empty: infinite, the diagonal of the scan, or BraTS' penalty (374 mm)",
    )
    parser.add_argument(
        "--tolerance-mm",
        nargs="+",
        default=["2"],
        metavar="MM|NAME=MM",
        help="tolerance of the normalised surface Dice: one number, or by structure (2 mm for those not named)",
    )
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="these metrics only, as dice hd95_mm nsd")
    parser.add_argument("--strict", action="store_true", help="a case that cannot be evaluated is an error")
    parser.add_argument(
        "--images", type=Path, help="data set or folder of the scans, for pictures; otherwise those of the references"
    )
    parser.add_argument("--pictures", type=int, default=20, metavar="N", help="cases with pictures, the worst first")
    parser.add_argument(
        "--workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        help="cases read and measured at a time; the result does not depend on it",
    )
    return parser
