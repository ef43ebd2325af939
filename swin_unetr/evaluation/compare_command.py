"""The command `swin-unetr compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swin_unetr.configuration import CommandParser
from swin_unetr.errors import ConfigError, DataError


def main(argv: Sequence[str]) -> int:
    """Parse the arguments, compare, print the tables; gives the exit code."""
    arguments = _parser().parse_args(list(argv))
    paths: list[Path] = arguments.methods
    if len(paths) < 2:
        raise ConfigError("methods: two or more are needed to compare")
    names = arguments.names or _names(paths)
    if len(names) != len(paths) or len(set(names)) != len(names):
        raise ConfigError(f"names: {len(paths)} different names are needed, got {', '.join(names)}")

    from swin_unetr.evaluation.compare import compare_values
    from swin_unetr.evaluation.compare_report import comparison_tables, summary_line, write_comparison

    methods, structures = {}, []
    for name, path in zip(names, paths, strict=True):
        methods[name], found = _values(path, arguments)
        structures.append(found)
    if any(sorted(found) != sorted(structures[0]) for found in structures):
        raise DataError(f"{paths[0]}: the structures differ: {' / '.join(', '.join(found) for found in structures)}")
    if not set.intersection(*({case for case, _, _ in values} for values in methods.values())):
        raise DataError(f"{paths[0]}: no case that all methods have; check that the case ids are the same")
    result = compare_values(methods, structures[0], seed=arguments.seed)
    for table in comparison_tables(result):
        table.print()
    print(summary_line(result))
    if arguments.output is not None:
        inputs = {
            "reference": arguments.reference,
            "task": arguments.task,
            "empty": arguments.empty,
            "seed": arguments.seed,
        }
        write_comparison(
            result, {name: str(path) for name, path in zip(names, paths, strict=True)}, inputs, arguments.output
        )
        print(f"report: {arguments.output / 'compare.html'}")
    return 1 if result.left_out else 0


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path that is not the same in all."""
    parts = [(path.parent if path.name == "results.json" else path).absolute().parts[::-1] for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[:depth][::-1]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ConfigError("methods: the same path is given twice")


def _values(path: Path, arguments: Any) -> tuple[dict[tuple[str, str, str], float], list[str]]:
    """Values of the evaluated cases, and the names of the structures."""
    report = path / "results.json" if path.is_dir() else path
    if report.name == "results.json" and report.is_file():
        try:
            results = json.loads(report.read_text(encoding="utf-8"))
            rows = [row for row in results["rows"] if row["status"] != "failed"]
            structures = [target["name"] for target in results["reference_task"]["targets"]]
            number = {(row["case"], row["structure"], row["metric"]): row["value"] for row in rows}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{report}: is no result of evaluate ({error}); evaluate again") from error
        return {key: float("nan") if value is None else float(value) for key, value in number.items()}, structures
    if arguments.reference is None:
        raise ConfigError(f"reference: {path} is no report, so --reference must say where the references lie")

    from swin_unetr.evaluation.run import evaluate

    result = evaluate(path, arguments.reference, task=arguments.task, empty=arguments.empty)
    values = {(row.case, row.structure, row.metric): row.value for row in result.rows if row.status != "failed"}
    return values, [target.name for target in result.reference_task.targets]


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="swin-unetr compare",
        description="Paired comparison of segmentations: differences with bootstrap intervals, Wilcoxon tests with "
        "Holm's correction, and a ranking with its stability. Cases that some method lacks are listed and counted, and "
        "the exit code is 1.",
    )
    parser.add_argument("methods", nargs="+", type=Path, help="folders of predictions, report folders or results.json")
    parser.add_argument("--reference", type=Path, help="folder of label files or data set, for folders of predictions")
    parser.add_argument("--task", help="what the labels mean; see evaluate")
    parser.add_argument("--names", nargs="+", help="names of the methods; otherwise those of the folders")
    parser.add_argument("--output", type=Path, help="folder for compare.json, compare.csv, compare.md, compare.html")
    parser.add_argument("--empty", choices=("nan", "brats"), default="nan", help="see evaluate")
    parser.add_argument("--seed", type=int, default=2026, help="of the bootstrap")
    return parser
