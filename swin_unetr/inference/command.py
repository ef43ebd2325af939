"""The command `swin-unetr predict`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

import os
import sys
from argparse import BooleanOptionalAction
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import get_args

from swin_unetr.batch import BatchReport
from swin_unetr.config_io import CommandParser
from swin_unetr.datasets.arguments import add_layout_argument
from swin_unetr.dicom.arguments import Encoding, Kind, add_dicom_arguments, require_libraries
from swin_unetr.errors import ConfigError
from swin_unetr.inference.backends.registry import BACKENDS, auto_in_words
from swin_unetr.inference.batch.parts import parse_part, part_of_array
from swin_unetr.machine import Precision, parse_size
from swin_unetr.provenance import command, telling_how_to_go_on

#: Exit code if all is done and --fail-on found a case.
FLAGGED = 3
_USAGE = "swin-unetr predict MODEL INPUT [INPUT ...] --output DIR [--with MODEL ...] [--tta] ..."
_DESCRIPTION = """Segment scans with one or more trained models.

For each case, DIR receives <case id>.nii.gz with the labels on the scan's own grid, and <case id>.json, which says how
they were made; predictions.json records the run. A case that fails is listed at the end, the others go on, and the exit
code is 1. Existing results that were made from the same files in the same way are kept: repeat the command to continue
a stopped run. Several processes with the same command share the cases."""


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, segment, say where the results are; gives the exit code.

    Raises:
        ConfigError: wrong arguments.
        CheckpointError: a model that cannot be used.
    """
    arguments = build_parser().parse_args(list(argv)).as_dict()
    if arguments["roi_size"] is not None:
        arguments["roi_size"] = tuple(arguments["roi_size"])

    if arguments["max_memory"] is not None:
        arguments["max_memory"] = parse_size(arguments["max_memory"])

    given = arguments["part"]
    arguments["part"] = part_of_array(os.environ) if given is None else parse_part(given)

    output, fail_on = arguments["output"], arguments.pop("fail_on")
    if fail_on is not None and arguments["trust"] is False:
        raise ConfigError("fail_on: --fail-on needs the decisions that --no-trust leaves out; leave one of them out")
    kinds, encoding = arguments.pop("dicom"), arguments.pop("seg_encoding")
    if kinds:
        require_libraries()
    with telling_how_to_go_on(command(["predict", *(word for word in argv if word != "--overwrite")])):
        from swin_unetr.inference.batch.run import predict  # only now: torch takes seconds to import
        from swin_unetr.inference.batch.triage import fails, table
        from swin_unetr.inference.engine.models import model_folders
        from swin_unetr.trust.calibration import is_calibrated

        models = [arguments.pop("model"), *arguments.pop("with")]
        if fail_on is not None and not any(map(is_calibrated, chain.from_iterable(map(model_folders, models)))):
            raise ConfigError(
                "fail_on: there are no decisions without a calibration; run swin-unetr calibrate on the run first"
            )
        report = predict(
            models,
            arguments.pop("inputs"),
            arguments.pop("output"),
            **arguments,
        )
        if kinds:
            _export(report, output, kinds, encoding)
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if report.trust:
        print(*table(report.trust), sep="\n")
    print(f"{len(report.done)} segmented, {len(report.failures)} failed; results in {output}")
    return report.exit_code or (FLAGGED if fails(report.trust, fail_on) else 0)


def _export(report: BatchReport, output: Path, kinds: Sequence[Kind], encoding: Encoding) -> None:
    """Write the results that are done as DICOM too; what fails is added to the report."""
    from swin_unetr.dicom.out.export import FOLDER, export_results, results_of

    exported = export_results(
        results_of(output, report.done),
        output / FOLDER,
        kinds,
        encoding=encoding,
        on_case=lambda case, words: print(f"{case}: {words}", file=sys.stderr, flush=True),
    )
    report.failures += exported.failures


def build_parser() -> CommandParser:
    """The parser of the command; its destinations are the parameters of `predict`, and what is written as DICOM."""
    parser = CommandParser(
        prog="swin-unetr predict", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    add = parser.add_argument
    add(
        "model",
        type=Path,
        metavar="MODEL",
        help="model folder, run folder (then its best/), or cross-validation (then all of its folds)",
    )
    add("inputs", type=Path, nargs="+", metavar="INPUT", help="image file, folder of image files, root of a data set")
    add("--output", type=Path, required=True, help="folder of the results")
    add("--with", type=Path, nargs="+", default=[], metavar="MODEL", help="further models; probabilities are averaged")
    add("--overlap", type=float, help="share of a window that overlaps its neighbour; by default the model's own")
    add("--roi-size", type=int, nargs=3, metavar=("X", "Y", "Z"), help="window in voxels; by default the model's own")
    add(
        "--tta",
        action=BooleanOptionalAction,
        help="average over mirror images along the axes that training mirrored (up to eight times the time); by "
        "default the model's own",
    )
    add("--weights", choices=["gaussian", "constant"], help="blending of overlapping windows; by default the model's")
    add("--batch-size", type=int, help="windows in one pass of the network; by default the model's own")
    add("--save-probabilities", action="store_true", help="write <case id>_probabilities.nii.gz (4-D, float32) too")
    add("--device", default="auto", help="auto (the first CUDA GPU, else the CPU), cpu, cuda, cuda:N or mps")
    add(
        "--precision",
        choices=["auto", *get_args(Precision)],
        default="auto",
        help="auto: the fastest of those that the hardware multiplies in, measured when a model is first opened here",
    )
    add(
        "--backend",
        choices=["auto", *BACKENDS],
        default="auto",
        help=f"what runs the network; auto: {auto_in_words()}",
    )
    add(
        "--max-memory",
        metavar="SIZE",
        help="memory that the process may take (on a GPU: GPU memory), such as 4GB; by default nearly all",
    )
    add(
        "--accumulate",
        choices=["auto", "float32", "float16"],
        default="auto",
        help="type of the sums of windows; float16 takes half the memory and may change labels where two are nearly "
        "equal; auto: float16 only if --max-memory is too little for float32",
    )
    add(
        "--skip-empty",
        action=BooleanOptionalAction,
        default=True,
        help="leave out windows in which nothing varies (air); on by default",
    )
    add(
        "--postprocess",
        action=BooleanOptionalAction,
        default=True,
        help="remove components by the rules in the model's folder, if it has any; on by default",
    )
    add(
        "--trust",
        action=BooleanOptionalAction,
        help="say how sure each result is: in its record, in a table and in triage.csv, the worst first; by default if "
        "the model's folder holds a calibration (swin-unetr calibrate)",
    )
    add(
        "--uncertainty-map",
        action="store_true",
        help="write <case id>_uncertainty.nii.gz too: the entropy of the probabilities, 0 to 1",
    )
    add(
        "--fail-on",
        choices=["review", "reject"],
        help="end with the exit code 3 if a case is to be reviewed or rejected, or only if one is rejected",
    )
    add_layout_argument(parser, "the folders among the inputs")
    add("--folds", type=Path, help="split file (folds.json); with --fold: its validation cases only")
    add("--fold", type=int, help="which fold of --folds, from 0")
    add("--cases", nargs="+", metavar="ID", help="segment these cases only")
    add(
        "--part",
        metavar="K/N",
        help="segment the K-th of N parts of the cases, for N processes that share no locks; by default the part of "
        "this task of a SLURM job array",
    )
    add(
        "--channels",
        nargs="+",
        metavar="NAME",
        help="what the channels of the inputs are, by the names of the model's channels and in the order of the files; "
        "needed if the inputs' own names do not say it",
    )
    add_dicom_arguments(parser, "write the results into DIR/dicom too, from scans that are DICOM")
    add("--overwrite", action="store_true", help="replace existing results, also those of other models or options")
    return parser
