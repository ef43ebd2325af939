"""The command `swin-unetr study`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from swin_unetr.config_io import CommandParser
from swin_unetr.inference.batch.parts import parse_part, part_of_array
from swin_unetr.provenance import command, telling_how_to_go_on
from swin_unetr.study.peer import PLACEHOLDERS
from swin_unetr.study.read import parse_folders, read_study

_USAGE = "swin-unetr study STUDY.yaml --output DIR [--data NAME=FOLDER ...] [--part K/N] [--plan-only | --report-only]"
_DESCRIPTION = """Compare several ways to train: every arm on every data set, fold, share of the labels and seed, on the
same cases and the same budget.

DIR receives the trainings in runs/, held_back.txt with the images of the test cases, and the report: study.html,
study.md, study.json and study.csv. Finished trainings are kept: repeat the command to continue a stopped study. One
that fails is listed at the end, the others go on, and the exit code is 1. Several processes with the same command share
the trainings."""


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, run the study, print its tables; gives the exit code.

    Raises:
        ConfigError: wrong arguments, or a wrong study.
        CheckpointError: weights that cannot be used.
        DataError: data sets that cannot be used.
    """
    arguments = build_parser().parse_args(list(argv))
    folders = parse_folders(arguments.data)
    part = part_of_array(os.environ) if arguments.part is None else parse_part(arguments.part)
    read_study(arguments.study, folders)  # what is wrong is said at once

    from swin_unetr.study.run import in_words, run_study  # only now: libraries of images and statistics take a while
    from swin_unetr.study.tables import print_study

    with telling_how_to_go_on(command(["study", *argv])):
        report = run_study(
            arguments.study,
            arguments.output,
            folders=folders,
            part=part,
            plan_only=arguments.plan_only,
            report_only=arguments.report_only,
        )
    if arguments.plan_only:
        print(in_words(report))
        held_back = arguments.output / "held_back.txt"
        print(f"test cases: {held_back}; pre-train without them: --exclude {held_back}")
        return 0
    print_study(report)
    print(f"report: {arguments.output / 'study.html'}")
    return report.exit_code


def build_parser() -> CommandParser:
    """The parser of the command."""
    places = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    parser = CommandParser(
        prog="swin-unetr study", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    add = parser.add_argument
    add("study", type=Path, metavar="STUDY.yaml", help=f"the study; placeholders of a command in it: {places}")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the study, new or to be gone on with")
    add(
        "--data",
        nargs="+",
        default=[],
        metavar="NAME=FOLDER",
        help="folders of data sets, by the names that the study gives them",
    )
    add(
        "--part",
        metavar="K/N",
        help="do the K-th of N parts of the trainings, for N processes that share no locks; by default the part of "
        "this task of a SLURM job array",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plan-only", action="store_true", help="divide the cases, write held_back.txt, train nothing")
    how.add_argument("--report-only", action="store_true", help="train nothing, report what is done")
    return parser
