"""The command `swin-unetr convert`."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from swin_unetr.config_io import CommandParser
from swin_unetr.datasets import Dataset
from swin_unetr.datasets.arguments import add_layout_argument
from swin_unetr.dicom.arguments import add_dicom_arguments, require_libraries
from swin_unetr.errors import ConfigError
from swin_unetr.files import require

_DESCRIPTION = """Convert a data set of any layout and file type to another one, with the same voxels and affines.

Files that stay as they are become hard links. A case that fails is listed at the end, the others go on, and the exit
code is 1. Files that exist already and are equal are kept: run the same command again to continue one that was stopped.
DIR gets convert.json, which records what each file was made from."""


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, convert, print the results of the cases; gives the exit code.

    Raises:
        ConfigError: wrong arguments, or a source that does not say what its labels mean.
        DataError: the source is no data set.
    """
    args = build_parser().parse_args(list(argv))
    if (args.to is None) == (not args.dicom):
        raise ConfigError("--to converts a data set, and --dicom the results of predict; give one of them")
    if args.dicom:
        return _to_dicom(args)

    from rich.console import Console
    from rich.progress import Progress

    from swin_unetr.conversion.run import convert  # only now: image libraries take a while to import

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("cases", total=None)

        def start(dataset: Dataset) -> None:
            print(dataset.summary(), flush=True)
            bars.update(bar, total=len(dataset.cases))

        report = convert(
            args.source,
            args.output,
            to=args.to,
            layout=args.layout,
            file_type=args.file_type,
            link=not args.copy,
            modality=args.modality,
            workers=args.workers,
            on_start=start,
            on_case=lambda case, outcome: bars.advance(bar),
        )
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    for case, words in report.warnings.items():
        print(f"warning: {case}: {'; '.join(words)}", file=sys.stderr)
    if report.renumbered:
        changes = ", ".join(f"{old} is now {new}" for old, new in report.renumbered.items() if old != new)
        wanted = "consecutive values, one for each structure" if args.to == "nnunet" else "one value for each structure"
        print(f"label values renumbered, since the layout {args.to} needs {wanted}: {changes}")
    if args.to == "nnunet" and not re.fullmatch(r"Dataset\d{3}_.+", args.output.resolve().name):
        print("note: nnU-Net wants the folder to be named Dataset<3 digits>_<name>, such as Dataset101_Liver")
    files = ", ".join(f"{count} {how}" for how, count in sorted(report.files.items())) or "none"
    print(f"{len(report.done)} converted, {len(report.failures)} failed; files: {files}; {args.output}")
    return report.exit_code


def _to_dicom(args: Namespace) -> int:
    """Write results as DICOM, print what became of each; gives the exit code."""
    require_libraries()
    from swin_unetr.dicom.out.export import export_results, result_of_file, results_of

    require(args.source)
    if args.source.is_file() and args.source_scan is None:
        raise ConfigError("source: of a single label file the series is needed, as --source SERIES")
    results = [result_of_file(args.source, args.source_scan)] if args.source.is_file() else results_of(args.source)
    report = export_results(
        results,
        args.output,
        args.dicom,
        encoding=args.seg_encoding,
        on_case=lambda case, words: print(f"{case}: {words}", file=sys.stderr, flush=True),
    )
    print(f"{len(report.done)} written as DICOM, {len(report.failures)} failed; {args.output}")
    return report.exit_code


def build_parser() -> CommandParser:
    """The parser of the command."""
    parser = CommandParser(prog="swin-unetr convert", description=_DESCRIPTION, add_help=True, allow_abbrev=False)
    add = parser.add_argument
    add(
        "source",
        type=Path,
        metavar="SOURCE",
        help="root of a data set, or a file that lists one (CSV, JSON); with --dicom: results of predict",
    )
    add("--to", choices=["decathlon", "nnunet", "plain"], help="layout to write")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the new data set")
    add_layout_argument(parser, "SOURCE")
    add("--file-type", choices=["nii.gz", "nii", "nrrd", "mha"], default="nii.gz", help="type of new files")
    add("--modality", choices=["CT", "MR"], help="modality of the scans, if the data set does not say it")
    add("--copy", action="store_true", help="copy files that stay as they are; by default they become hard links")
    add_dicom_arguments(parser, "write results of predict, or a label file that names its structures, as DICOM")
    add("--source", dest="source_scan", type=Path, metavar="SERIES", help="with --dicom: series of a single label file")
    add("--workers", type=int, default=0, help="parallel processes; 0: one per core")
    return parser
