"""The command `swin-unetr compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swin_unetr.config_io import CommandParser
from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.inputs.arguments import add_evaluation_arguments, evaluation_options


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, compare, print the tables; gives the exit code."""
    parser = _parser()
    arguments = parser.parse_args(list(argv))
    paths: list[Path] = arguments.methods
    if len(paths) < 2:
        raise ConfigError("methods: two or more are needed to compare")
    names = arguments.names or _names(paths)
    if len(names) != len(paths) or len(set(names)) != len(names):
        raise ConfigError(f"names: {len(paths)} different names are needed, got {', '.join(names)}")
    options = evaluation_options(arguments)

    from swin_unetr.evaluation.comparison.run import compare_methods
    from swin_unetr.evaluation.comparison.tables import print_comparison

    result, methods = compare_methods(
        dict(zip(names, paths, strict=True)),
        arguments.reference,
        arguments.output,
        options,
        rank_by=arguments.rank_by,
        missing=arguments.missing,
        seed=arguments.seed,
    )
    print_comparison(result, methods)
    if arguments.output is not None:
        print(f"report: {arguments.output / 'compare.html'}")
    return 1 if any(result.lacking.values()) else 0


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ between all of them, without the part that all end with."""
    parts = [(path.parent if path.name == "results.json" else path).absolute().parts[::-1] for path in paths]
    while len({part[0] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts = [part[1:] for part in parts]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[:depth][::-1]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ConfigError("methods: the same path is given twice")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="swin-unetr compare",
        description="Paired comparison of segmentations: differences with 95 % intervals, Wilcoxon tests with Holm's "
        "correction, and rankings with their stability; patients are the unit of all of them. Cases that some method "
        "lacks are listed and counted, and the exit code is 1.",
    )
    parser.add_argument("methods", nargs="+", type=Path, help="folders of predictions, report folders or results.json")
    parser.add_argument("--reference", type=Path, help="folder of label files or data set, for folders of predictions")
    parser.add_argument("--names", nargs="+", help="names of the methods; default: those of the folders")
    parser.add_argument(
        "--output", type=Path, help="folder for compare.json, compare.csv, differences.csv, compare.md, compare.html"
    )
    parser.add_argument(
        "--rank-by",
        nargs="+",
        metavar="NAME",
        help="metrics that the rankings count; default: dice, hd95_mm and nsd (BraTS 2023 and 2024: lesion_dice "
        "lesion_hd95_mm)",
    )
    parser.add_argument(
        "--missing",
        choices=("worst", "common"),
        default="worst",
        help="a case that some method lacks: that method has the worst rank there (worst), or it is left out (common)",
    )
    parser.add_argument("--seed", type=int, default=2026, help="seed of the bootstrap")
    add_evaluation_arguments(parser)
    return parser
