"""The command `swin-unetr export`. No torch is imported before the arguments are known to be right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from swin_unetr.config_io import CommandParser
from swin_unetr.inference.backends.registry import EXPORTS, exports_in_words
from swin_unetr.machine import Precision


def main(argv: Sequence[str]) -> int:
    """Write a model in another format, and say how it was checked; gives the exit code.

    Raises:
        ConfigError: wrong arguments.
        CheckpointError: no usable model.
        DataError: the exported model gives other scores.
    """
    parser = CommandParser(
        prog="swin-unetr export",
        description="Write a model for use elsewhere, with its preprocessing and labels (export.json). It is run on a "
        "sample and compared with the network before it is kept.",
    )
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="model folder, or run folder (then its best/)")
    add("--format", choices=list(EXPORTS), required=True, help="what to write")
    add("--output", type=Path, required=True, help="folder of the files")
    add(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help=f"float16: only the weights in the file; bfloat16: by autocast in the graph ({exports_in_words()})",
    )
    add("--roi-size", type=int, nargs=3, metavar=("X", "Y", "Z"), help="window in voxels; by default the model's own")
    arguments = parser.parse_args(list(argv))

    from swin_unetr.inference.export import export_model  # only now: torch takes seconds to import

    roi = arguments.roi_size
    parity = export_model(
        arguments.model,
        arguments.output,
        format=arguments.format,
        precision=arguments.precision,
        roi_size=None if roi is None else (roi[0], roi[1], roi[2]),
    )
    print(
        f"{arguments.output}: {arguments.format} in {arguments.precision}, checked: scores differ by "
        f"{parity.relative_difference:.1e} from the network's, {parity.label_agreement:.3%} of the labels are the same"
    )
    return 0
