"""Directives of the reference: they show what the code says, so that the two cannot differ."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from swin_unetr.checkpoints.layouts import Layout
    from swin_unetr.inference.backends.registry import BackendSpec


def _literal(text: str) -> nodes.literal_block:
    block = nodes.literal_block(text, text)
    block["language"] = "text"
    return block


def table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int], code: int = 1) -> nodes.table:
    """A table; the first `code` columns are set in a fixed-width font."""
    table = nodes.table(classes=["colwidths-given"])
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, body = nodes.thead(), nodes.tbody()
    head += _row(header, code=0)
    body += [_row(row, code) for row in rows]
    group += [head, body]
    table += group
    return table


def _row(cells: Sequence[str], code: int) -> nodes.row:
    row = nodes.row()
    for index, text in enumerate(cells):
        entry = nodes.entry()
        entry += nodes.paragraph("", "", *([nodes.literal(text, text)] if index < code and text else _words(text)))
        row += entry
    return row


def _words(text: str) -> list[nodes.Node]:
    """Words as they are, and the words between backticks in a fixed-width font."""
    parts = text.split("`")
    return [nodes.literal(part, part) if index % 2 else nodes.inline(part, part) for index, part in enumerate(parts)]


class Commands(SphinxDirective):
    """The help text of every command, each below a heading of its own."""

    def run(self) -> list[nodes.Node]:
        """Read the table of commands and run each with `--help`."""
        from swin_unetr.cli import COMMANDS

        return [self._section(name, text) for name, (_, text) in COMMANDS.items()]

    def _section(self, name: str, text: str) -> nodes.Node:
        section = nodes.section(ids=[name])
        section += nodes.title(name, name)
        section += nodes.paragraph(text, f"{text[0].upper()}{text[1:]}.")
        section += _literal(_help(name))
        return section


def _help(command: str) -> str:
    from swin_unetr.cli import COMMANDS

    module, function = COMMANDS[command][0].split(":")
    before, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "100"
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            getattr(import_module(module), function)(["--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return text.getvalue().strip()


class Fields(SphinxDirective):
    """The fields of a configuration: name, default, and the comment above each in the code."""

    required_arguments = 1
    option_spec = {"groups": directives.unchanged}  # noqa: RUF012  # docutils reads it from the class

    def run(self) -> list[nodes.Node]:
        """One table for each group of fields."""
        from swin_unetr.config_io import documented_fields

        module, _, name = self.arguments[0].rpartition(".")
        groups: dict[str, list[tuple[str, str, str]]] = {}
        for path, default, comment in documented_fields(getattr(import_module(module), name)):
            groups.setdefault(path.rpartition(".")[0], []).append((path, _yaml(default), comment))
        found: list[nodes.Node] = []
        for group, rows in groups.items():
            found.append(nodes.rubric(group, group or "at the top"))
            found.append(table(("field", "default", "meaning"), rows, (32, 20, 60), code=2))
        return found


def _yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value is not None else "null"


class Findings(SphinxDirective):
    """What `doctor` may find."""

    def run(self) -> list[nodes.Node]:
        """The table of defects."""
        from swin_unetr.doctor.findings import KINDS

        rows = [(code, kind.severity, kind.title, kind.remedy) for code, kind in KINDS.items()]
        return [table(("code", "severity", "what it is", "what to do"), rows, (18, 10, 34, 50))]


class Layouts(SphinxDirective):
    """The layouts of data sets."""

    def run(self) -> list[nodes.Node]:
        """The table of layouts, in the order of recognition."""
        from swin_unetr.datasets.readers import READERS

        rows = [(reader.name, reader.looks, reader.structures) for reader in READERS]
        return [table(("layout", "what it looks like", "what names the structures"), rows, (12, 50, 38))]


class Metrics(SphinxDirective):
    """The metrics of a report."""

    def run(self) -> list[nodes.Node]:
        """The table of metrics."""
        from swin_unetr.evaluation.metrics import METRICS

        rows = [(of.name, of.title, of.definition) for of in METRICS]
        return [table(("key", "name", "definition and source"), rows, (22, 20, 60))]


class Backends(SphinxDirective):
    """What runs a network in prediction."""

    def run(self) -> list[nodes.Node]:
        """The table of backends."""
        from swin_unetr.inference.backends.registry import BACKENDS

        rows = [
            (name, of.title, ", ".join(of.devices), ", ".join(of.precisions), of.extra or "", _format(of))
            for name, of in BACKENDS.items()
        ]
        header = ("name", "what it is", "devices", "precisions", "extra", "exports")
        return [table(header, rows, (12, 18, 16, 26, 12, 18))]


class WeightLayouts(SphinxDirective):
    """Which published weights are read."""

    def run(self) -> list[nodes.Node]:
        """The table of layouts."""
        from swin_unetr.checkpoints.layouts import LAYOUTS

        rows = [
            (name, of.files, of.keys, of.left, _prepared(of), "names in the file" if of.shown else "`--source`")
            for name, of in LAYOUTS.items()
        ]
        header = ("source", "files", "keys", "not used", "scans of the pre-training", "known by")
        return [table(header, rows, (14, 22, 22, 18, 20, 12))]


def _prepared(layout: Layout) -> str:
    """Intensities and voxel size, in words."""
    if layout.preprocess is None:
        return "those of its recipe"
    intensity, spacing = layout.preprocess.intensity, layout.preprocess.spacing_mm
    words = "{:g} to {:g} HU".format(*intensity.window) if intensity.is_hounsfield else intensity.scheme
    words += f", {spacing[0]:g} mm" if spacing else ", voxels as stored"
    return f"{words}; {layout.remark}" if layout.remark else words


def _format(backend: BackendSpec) -> str:
    return f"{backend.export.name} ({', '.join(backend.export.precisions)})" if backend.export else ""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    for name, directive in {
        "all-commands": Commands,
        "config-fields": Fields,
        "doctor-findings": Findings,
        "dataset-layouts": Layouts,
        "report-metrics": Metrics,
        "inference-backends": Backends,
        "weight-layouts": WeightLayouts,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True}
