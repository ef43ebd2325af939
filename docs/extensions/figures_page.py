"""A directive for figures: a table of a benchmark's JSON file, with its command, machine and commit below it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from reference_pages import table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

#: Folder of the JSON files, beside the pages.
FOLDER = Path(__file__).parents[1] / "figures"
#: Units that a column may name: the divisor of a value, and its decimals.
_UNITS = {"GB": (1e9, 2), "MB": (1e6, 0), "%": (0.01, 1), "s": (1, 1), "ms": (1e-3, 1), "times": (1, 2), "": (1, 0)}


class Measured(SphinxDirective):
    """A table of a benchmark's results.

    The argument is the file's name. `rows` is the dotted path of a list of rows, or of a group of named rows. Each line
    of `columns` is a heading, "=", the dotted path of a value in its row ("." is the name of the row), and its unit or
    the number of its decimals.
    """

    required_arguments = 1
    option_spec = {"rows": directives.unchanged, "columns": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Read the file and lay out its rows."""
        path = FOLDER / self.arguments[0]
        self.env.note_dependency(str(path))
        values = json.loads(path.read_text(encoding="utf-8"))
        columns = [_column(line) for line in self.options["columns"].splitlines() if line.strip()]
        cells = [
            [_cell(name if of == "." else _at(row, of), unit) for _, of, unit in columns]
            for name, row in _rows(_at(values, self.options.get("rows", "results")))
        ]
        widths = [40, *(20 for _ in columns[1:])]
        origin = _origin(_measured(values, self.options.get("rows", "results")))
        return [table([heading for heading, _, _ in columns], cells, widths, code=0), origin]


def _column(line: str) -> tuple[str, str, str]:
    heading, _, rest = line.partition("=")
    of, _, unit = rest.strip().partition(" ")
    return heading.strip(), of, unit.strip()


def _rows(found: Any) -> list[tuple[str, Any]]:
    if isinstance(found, dict):
        return list(found.items())
    return [(str(number), row) for number, row in enumerate(found, 1)]


def _at(values: Any, path: str) -> Any:
    for part in path.split("."):
        values = values[int(part)] if isinstance(values, list) else values.get(part)
        if values is None:
            return None
    return values


def _measured(values: dict[str, Any], path: str) -> dict[str, Any]:
    """What says by which command the rows were measured: the part of a file that they are in, or the whole file."""
    first = values.get(path.split(".")[0])
    return first if isinstance(first, dict) and "command" in first else values


def _cell(value: Any, unit: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, (int, float)):
        return str(value)
    if unit.isdecimal():
        return f"{value:.{int(unit)}f}"
    divisor, decimals = _UNITS[unit]
    return f"{value / divisor:.{decimals}f} {unit}".strip()


def _origin(values: dict[str, Any]) -> nodes.Node:
    """How to repeat the benchmark."""
    machine = values["machine"]
    threads = f"OMP_NUM_THREADS={machine['OMP_NUM_THREADS']} " if "OMP_NUM_THREADS" in machine else ""
    command = threads + values["command"]
    where = f"; {machine['cores']} cores of {machine['processor']}, {values['written'][:10]}, commit "
    paragraph = nodes.paragraph(classes=["origin"])
    paragraph += nodes.literal(command, command)
    commit = (values["commit"] or "unknown")[:7]
    paragraph += [nodes.inline(where, where), nodes.literal(commit, commit)]
    return paragraph


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("measured", Measured)
    return {"parallel_read_safe": True}
