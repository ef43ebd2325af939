"""A diagnosis in the terminal: short, defects grouped by their kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.trial import TrainingNeeds
from swin_unetr.doctor.diagnosis import Diagnosis
from swin_unetr.doctor.findings import Finding
from swin_unetr.doctor.overview import ChannelRow, StructureRow, channels, grids, structures
from swin_unetr.survey.facts import Survey
from swin_unetr.words import count

#: Findings of one kind that are written out; the page has all.
_SHOWN = 6
#: Structures that are listed.
_MOST_STRUCTURES = 25


def print_diagnosis(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Write what was found."""
    console = console or Console()
    survey = diagnosis.survey
    console.print(diagnosis.dataset.summary(), highlight=False, markup=False, soft_wrap=True)
    for name, text in grids(survey):
        console.print(f"  {name:<15}{text}", highlight=False, markup=False, soft_wrap=True)
    if rows := channels(survey):
        console.print(_channel_table(rows))
    if found := structures(survey):
        console.print(_structure_table(found[:_MOST_STRUCTURES], survey))
        if len(found) > _MOST_STRUCTURES:
            console.print(f"  and {len(found) - _MOST_STRUCTURES} more structures", highlight=False)
    for code, group in groupby(diagnosis.findings, key=lambda finding: finding.code):
        _print_findings(console, code, list(group), survey.root)
    if diagnosis.machine is not None:
        _print_machine(console, diagnosis.machine)
    console.print(f"[bold]{verdict(diagnosis)}[/]", highlight=False)


def verdict(diagnosis: Diagnosis) -> str:
    """The last line: how many of what."""
    errors, warnings = diagnosis.errors, diagnosis.warnings
    if not errors and not warnings:
        return "nothing wrong was found"
    return f"{count(errors, 'error')}, {count(warnings, 'warning')}"


def _channel_table(rows: Sequence[ChannelRow]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("channel", "0.5 %", "median", "99.5 %", "in labels: 0.5 %", "median", "99.5 %"):
        table.add_column(title, justify="left" if title == "channel" else "right")
    for row in rows:
        values = [of.percentiles[at] for of in (row.all, row.foreground) if of is not None for at in (0, 2, -1)]
        nothing = 1e-3 * (values[2] - values[0])
        table.add_row(escape(row.name), *(f"{0 if abs(value) < nothing else value:.4g}" for value in values))
    return table


def _structure_table(rows: Sequence[StructureRow], survey: Survey) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    partly = ["looked for"] if survey.labelled else []
    for title in ("structure", "labels", *partly, "cases", "smallest, ml", "median", "largest"):
        table.add_column(title, justify="left" if title == "structure" else "right")
    for row in rows:
        volumes = (f"{value:.3g}" if value < 1000 else f"{value:,.0f}" for value in row.spread or ())
        labels = ", ".join(map(str, row.values))
        cells = [str(row.looked_for) for _ in partly]
        table.add_row(escape(row.name), labels, *cells, f"{len(row.volumes_ml)}/{len(survey.cases)}", *volumes)
    return table


def _print_findings(console: Console, code: str, findings: Sequence[Finding], root: Path) -> None:
    first = findings[0]
    colour = "red" if first.severity == "error" else "yellow"
    times = f" ({len(findings)})" if len(findings) > 1 else ""
    console.print(f"[bold {colour}]{first.severity}[/] [bold]{first.title}{times}[/] [dim]{code}[/]", highlight=False)
    for finding in findings[:_SHOWN]:
        where = "" if finding.file is None else f"{below(finding.file, root)}: "
        console.print(f"  {where}{finding.words}", highlight=False, markup=False, soft_wrap=True)
    if len(findings) > _SHOWN:
        console.print(f"  and {len(findings) - _SHOWN} more", highlight=False)
    console.print(f"  → {first.remedy}", highlight=False, markup=False, soft_wrap=True)


def below(file: Path, root: Path) -> str:
    """A path as seen from the data set's folder."""
    return os.path.relpath(file, root) if file.is_relative_to(root) else str(file)


def _print_machine(console: Console, machine: TrainingNeeds) -> None:
    for line in machine_lines(machine):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def machine_lines(machine: TrainingNeeds) -> list[str]:
    """What is here and what training needs, a line each."""

    def need(size: int | None) -> str:
        return "" if size is None else f"; training needs {_gigabytes(size)}"

    gpu = "no GPU"
    if machine.gpu is not None and machine.gpu_memory is not None:
        modelled = "" if machine.gpu_memory_needed is None else " (modelled)"
        gpu = f"{machine.gpu}, {_gigabytes(machine.gpu_memory)} free{need(machine.gpu_memory_needed)}{modelled}"
    lines = [
        f"machine: {machine.cores} cores; {gpu}",
        f"  memory {_gigabytes(machine.memory_free)} free{need(machine.memory_needed)}",
        f"  disk   {_gigabytes(machine.disk_free)} free{need(machine.disk_needed)}",
    ]
    if machine.step_seconds is not None:
        took = "" if machine.step_memory is None else f" and {_gigabytes(machine.step_memory)}"
        lines.append(f"  one step of {machine.recipe} on {machine.device}: {machine.step_seconds:.3g} s{took}")
    if machine.training_seconds is not None:
        lines.append(f"  the whole training: about {timedelta(seconds=round(machine.training_seconds))}")
    return lines


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.3g} GB"
