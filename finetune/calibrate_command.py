"""The command `swin-unetr calibrate`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from swin_unetr.config_io import CommandParser
from swin_unetr.inference.backends.registry import BACKENDS
from swin_unetr.machine import Precision
from swin_unetr.provenance import command, telling_how_to_go_on

_USAGE = "swin-unetr calibrate RUN [--data DIR] [--miss SHARE] [--false-alarms SHARE] ..."
_DESCRIPTION = """Learn from cases that a model has not seen how good its results are to be expected.

RUN is a run folder of finetune, or a cross-validation. Each held-back case is predicted once more by the model that did
not see it, and its Dice is compared with the signals of the prediction: entropy, margin, volume, components, and how
far the features are from those of the training scans. The model folders receive trust.json and trust.safetensors; from
then on, predict says of each case: accept, review or reject, with a predicted Dice and its lower bound. All of it holds
if new scans are like those of training. A stopped calibration goes on with the same command."""


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, calibrate, print what was found; gives the exit code.

    Raises:
        ConfigError: wrong arguments.
        DataError: scans or records that cannot be used.
    """
    arguments = build_parser().parse_args(list(argv)).as_dict()
    with telling_how_to_go_on(command(["calibrate", *argv])):
        from finetune.calibration import calibrate  # only now: torch takes seconds to import

        result = calibrate(arguments.pop("run"), progress=lambda line: print(line, flush=True), **arguments)
    print(result.summary())
    return 0


def build_parser() -> CommandParser:
    """The parser of the command; its destinations are the parameters of `calibrate`."""
    parser = CommandParser(
        prog="swin-unetr calibrate", usage=_USAGE, description=_DESCRIPTION, add_help=True, allow_abbrev=False
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="run folder of finetune, or a cross-validation")
    add("--data", type=Path, metavar="DIR", help="scans and labels; by default where they were in training")
    add("--miss", type=float, default=0.1, help="probability that a Dice is below its bound; by default 0.1")
    add("--false-alarms", type=float, default=0.1, help="share of good cases that may be flagged; by default 0.1")
    add(
        "--training-scans",
        type=int,
        default=40,
        metavar="N",
        help="of how many training scans of each model features are kept; by default 40; 0 keeps none",
    )
    add("--device", default="auto", help="auto (the first CUDA GPU, else the CPU), cpu, cuda, cuda:N or mps")
    add("--precision", choices=["auto", *get_args(Precision)], default="auto", help="as for predict")
    add("--backend", choices=["auto", *BACKENDS], default="auto", help="as for predict")
    return parser
