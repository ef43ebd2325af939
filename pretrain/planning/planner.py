"""Looks at scans, plans a pre-training on them, and writes the plan."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.progress import Progress

from pretrain.planning import PLAN
from pretrain.planning.plan import PretrainPlan, make_plan
from pretrain.scans.exclusions import read_exclusions
from pretrain.scans.find import find_scans
from swin_unetr.config_io import RUN_CONFIG
from swin_unetr.datasets.case import Dataset
from swin_unetr.errors import ConfigError
from swin_unetr.files import write_text
from swin_unetr.planning.fingerprint import scan_print
from swin_unetr.planning.this_machine import this_machine
from swin_unetr.survey.run import survey


def plan_of_run(
    data: Sequence[Path],
    run: Path,
    *,
    exclude: Path | None = None,
    layout: str = "auto",
    max_time: str | None = None,
    max_steps: int | None = None,
) -> Path:
    """The plan that a run without a recipe follows: the one in its folder, or a new one for this machine.

    Args:
        data: folders, files and lists of scans.
        run: folder of the run's results.
        exclude: list of scans to leave out.
        layout: of the folders.
        max_time: time that the training may take. If this and `max_steps` are None, the plan decides.
        max_steps: steps that it makes.

    Raises:
        ConfigError: several processes would plan at a time, the folder holds something else, or too little memory.
        DataError: no scan that can be read, or unlike numbers of channels.
    """
    for left in (run / PLAN, run / RUN_CONFIG):  # planned before; begun with a recipe
        if left.is_file():
            return left
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ConfigError(f"{run}: is not empty, and holds no plan; give --config, or another --output")
    if any(int(os.environ.get(name) or 1) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS")):
        raise ConfigError("plan: several processes cannot plan together; run the same with --plan-only in one before")
    made = plan(data, exclude=exclude, layout=layout, max_time=max_time, max_steps=max_steps)
    write_text(run / PLAN, made.text())
    print(*made.headline(), made.table(), f"plan: {run / PLAN}", sep="\n", flush=True)
    return run / PLAN


def plan(
    data: Sequence[Path],
    *,
    exclude: Path | None = None,
    layout: str = "auto",
    memory: int | None = None,
    max_time: str | None = None,
    max_steps: int | None = None,
) -> PretrainPlan:
    """Look at scans and choose how to pre-train on them.

    Args:
        data: folders, files and lists of scans.
        exclude: list of scans to leave out.
        layout: of the folders.
        memory: bytes that the process may take on a processor. If None, most of what is free.
        max_time: see `make_plan`.
        max_steps: see `make_plan`.

    Raises:
        ConfigError: too little memory.
        DataError: no scan that can be read, or unlike numbers of channels.
    """
    machine = this_machine(memory=memory)  # before the survey makes this process larger
    left_out = () if exclude is None else read_exclusions(exclude)
    cases = find_scans(data, layout=layout, exclude=left_out).cases
    scans = Dataset(root=data[0], layout=layout, cases=tuple(replace(case, label=None) for case in cases))
    with Progress(disable=not sys.stdout.isatty()) as progress:
        row = progress.add_task("reading scans", total=len(cases))
        found = survey(scans, on_case=lambda done, _: progress.update(row, completed=done))
    return make_plan(scan_print(found), machine, max_time=max_time, max_steps=max_steps)
