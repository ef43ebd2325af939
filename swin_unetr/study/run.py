"""Runs a study: reads it, does the cells that are left, and reports what is done."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from swin_unetr.config_io import to_dict
from swin_unetr.errors import SwinUnetrError
from swin_unetr.files import is_full, keep_foreign, write_text
from swin_unetr.inference.batch.parts import Part, check_part, deal
from swin_unetr.inference.batch.presence import has_locks
from swin_unetr.inference.batch.queue import CaseQueue
from swin_unetr.study.cell_run import PROGRAM, CellRun, tail_of
from swin_unetr.study.cells import Cell, cells_of
from swin_unetr.study.check import HELD_BACK, check_arms, check_folds
from swin_unetr.study.collect import StudyReport, collect
from swin_unetr.study.config import StudyConfig
from swin_unetr.study.data import StudyData, held_back_images, open_data
from swin_unetr.study.plans import Plans
from swin_unetr.study.process import Processes
from swin_unetr.study.progress import StudyProgress
from swin_unetr.study.read import complete, read_study
from swin_unetr.study.report import FILES, JSON, KEYS, write_report
from swin_unetr.study.results import (
    FAILURE,
    LOG,
    CellFailure,
    begin,
    folder_of,
    read_result,
    refuse_changed,
    write_failure,
)
from swin_unetr.study.settings import settings_of
from swin_unetr.words import count


def run_study(
    study: StudyConfig | Path | str,
    output: Path | str,
    *,
    folders: Mapping[str, str] | None = None,
    part: Part | None = None,
    plan_only: bool = False,
    report_only: bool = False,
    progress: bool = True,
) -> StudyReport:
    """Train every arm on every data set, fold, share of the labels and seed, on one budget; compare them on test cases.

    Finished cells are kept. A cell that fails is reported, and the others go on. Several processes may share a folder.

    Args:
        study: the study, or its file.
        output: new, or the folder of the same study, which is gone on with. Receives `runs`, held_back.txt, study.json,
            study.csv, study.md and study.html.
        folders: folders of data sets by name, which replace those of the study.
        part: does only the cells of part K of N, given as (K, N) with K from 1. If None, all of them.
        plan_only: divide the cases, write held_back.txt, and train nothing.
        report_only: train nothing, and report what is done.
        progress: whether to write lines on standard output.

    Returns:
        What is done, and what failed.

    Raises:
        ConfigError: a wrong study, or finished cells of another one in the folder.
        CheckpointError: weights that cannot be used.
        DataError: data sets that cannot be used.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    place = Path(output)
    if isinstance(study, StudyConfig):
        config = complete(study, folders or {}, "study")
    else:
        config = read_study(Path(study), folders)
    keep_foreign(place, FILES, record=JSON, keys=KEYS)
    opened = _Study(config, place, shown=progress)
    if not plan_only and not report_only:
        opened.check()
        opened.do(None if part is None else check_part(part))
    report = collect(config, opened.data, opened.cells, place)
    if not plan_only:
        write_report(report, place)
    return report


class _Study:
    """A study whose data sets are open."""

    def __init__(self, config: StudyConfig, output: Path, *, shown: bool) -> None:
        self._config, self._output, self._shown = config, output, shown
        self.data: dict[str, StudyData] = {
            name: open_data(name, of, output, output / "store") for name, of in config.data.items()
        }
        check_folds(config, self.data)
        self.cells = cells_of(config, {name: len(of.folds) for name, of in self.data.items()})
        self._settings = {cell: settings_of(config, cell, self.data[cell.data]) for cell in self.cells}
        refuse_changed(output, self._settings)
        images = held_back_images(self.data.values(), config.folds)
        write_text(output / HELD_BACK, "".join(f"{image}\n" for image in images))
        write_text(output / "study.yaml", yaml.safe_dump(to_dict(config), sort_keys=False))

    def check(self) -> None:
        """Refuse arms that cannot be trained, before the first training."""
        for line in check_arms(self._config, self.data, self._output):
            self._say(line)

    def do(self, part: Part | None) -> None:
        """Do the cells that are left, those of a part alone if one is given."""
        locks = has_locks(self._output, part)
        mine: Sequence[Cell] = self.cells if part is None else deal(self.cells, part)
        kept = [cell for cell in mine if self._is_done(cell)]
        progress = StudyProgress(mine, len(kept), shown=self._shown)
        for cell in kept:
            progress.elsewhere(cell)
        started = time.time()
        todo = [cell for cell in mine if cell not in kept]
        with (
            Processes() as processes,
            CaseQueue(self._output, todo, self._is_done, progress.elsewhere, locks=locks) as queue,
        ):
            plans = Plans(self._output, self._config.budget, processes, PROGRAM, locks)
            while claim := queue.take(wait=True):
                try:
                    if self._failed_since(claim.case, started):  # another process has tried it meanwhile
                        progress.elsewhere(claim.case)
                    else:
                        self._do(claim.case, plans, processes, progress)
                finally:
                    claim.release()

    def _do(self, cell: Cell, plans: Plans, processes: Processes, progress: StudyProgress) -> None:
        folder = folder_of(self._output, cell)
        begin(folder, self._settings[cell])
        progress.begin(cell, folder / LOG)
        try:
            run = CellRun(self._config, cell, self.data[cell.data], self._output, plans, processes)
            progress.end(cell, run.do())
        except Exception as error:  # whatever it is, the other arms go on
            if isinstance(error, OSError) and is_full(error):
                raise
            cause = " ".join(str(error).split())
            if not isinstance(error, SwinUnetrError):
                cause = f"{type(error).__name__}: {cause}"
                with (folder / LOG).open("a", encoding="utf-8") as file:
                    file.write(traceback.format_exc())
            write_failure(folder, CellFailure(cause=cause, log=str(folder / LOG), tail=tail_of(folder / LOG)))
            progress.end(cell, None, cause)

    def _is_done(self, cell: Cell) -> bool:
        return read_result(folder_of(self._output, cell)) is not None

    def _failed_since(self, cell: Cell, started: float) -> bool:
        try:
            return (folder_of(self._output, cell) / FAILURE).stat().st_mtime > started
        except OSError:
            return False

    def _say(self, line: str) -> None:
        if self._shown:
            print(line, flush=True)


def in_words(report: StudyReport) -> str:
    """What a study consists of, in a line."""
    study = report.study
    parts = [
        count(len(report.cells), "cell"),
        count(len(study.arms), "arm"),
        count(len(study.data), "data set"),
        f"folds {', '.join(map(str, study.folds))}",
        f"seeds {', '.join(map(str, study.seeds))}",
        f"{study.budget.in_words()} each",
    ]
    return "; ".join(parts)
