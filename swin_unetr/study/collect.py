"""Collects what is done of a study, also by other processes, and takes its statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swin_unetr.evaluation.metrics import Metric, choose_metrics
from swin_unetr.evaluation.scoring import patient_indices
from swin_unetr.evaluation.wording import scans_of_patients
from swin_unetr.study.cells import Cell
from swin_unetr.study.config import StudyConfig
from swin_unetr.study.data import StudyData
from swin_unetr.study.results import METRICS, CellFailure, Result, Table, folder_of, read_failure, read_result
from swin_unetr.study.statistics import Gain, Level, Scores, gains, levels


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """What is done of a study, and what failed."""

    study: StudyConfig
    data: Mapping[str, StudyData]
    #: All cells of the study, in the order in which they are done.
    cells: Sequence[Cell]
    results: Mapping[Cell, Result]
    failures: Mapping[Cell, CellFailure]
    metrics: Sequence[Metric]
    levels: Sequence[Level]
    gains: Sequence[Gain]

    @property
    def exit_code(self) -> int:
        """1 if a cell failed, else 0."""
        return 1 if self.failures else 0

    def structures(self, data: str) -> list[str]:
        """Names of the structures of a data set."""
        return [target.name for target in self.data[data].task.targets]

    def lead(self) -> str:
        """How far the study is, in a sentence."""
        left = len(self.cells) - len(self.results) - len(self.failures)
        parts = [f"{len(self.results)} of {len(self.cells)} cells done", f"{len(self.failures)} failed"]
        return ", ".join([*parts, *([f"{left} not done yet"] if left else [])])

    def test_cases(self, data: str) -> str:
        """How many test cases a data set has in the folds that are done, in words."""
        cases = {case for cell, of in self.results.items() if cell.data == data for case in of.test}
        patients = self.data[data].patients
        return scans_of_patients(len(cases), len(set(patient_indices(sorted(cases), patients).tolist())))


def collect(study: StudyConfig, data: Mapping[str, StudyData], cells: Sequence[Cell], output: Path) -> StudyReport:
    """Read what is done, also by other processes, and take its statistics.

    Args:
        study: the study.
        data: its data sets.
        cells: all of its cells.
        output: its folder.

    Raises:
        DataError: a result that is damaged.
    """
    results = {cell: of for cell in cells if (of := read_result(folder_of(output, cell))) is not None}
    found = {cell: read_failure(folder_of(output, cell)) for cell in cells if cell not in results}
    failures = {cell: failure for cell, failure in found.items() if failure is not None}
    metrics = choose_metrics(METRICS, None)
    found_levels: list[Level] = []
    found_gains: list[Gain] = []
    for name, of_data in data.items():
        structures = [target.name for target in of_data.task.targets]
        for metric in metrics:
            scores = scores_of(results, name, metric.name)
            found_levels += levels(name, scores, structures, metric, of_data.patients)
            others = [arm for arm in study.arms if arm != study.reference]
            found_gains += gains(
                name, scores, structures, metric, of_data.patients, baseline=study.reference, arms=others
            )
    return StudyReport(
        study=study,
        data=data,
        cells=cells,
        results=results,
        failures=failures,
        metrics=metrics,
        levels=found_levels,
        gains=found_gains,
    )


def scores_of(results: Mapping[Cell, Result], data: str, metric: str) -> Scores:
    """Values of one data set and metric, the folds of a seed joined: each case is a test case of one fold."""
    scores: dict[tuple[str, float, int], dict[str, Mapping[str, float]]] = {}
    for cell, result in results.items():
        if cell.data == data:
            scores.setdefault((cell.arm, cell.labels, cell.seed), {}).update(result.values[metric])
    joined: dict[tuple[str, float, int], Table] = dict(scores)
    return joined
