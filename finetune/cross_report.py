"""The result of a cross-validation, as JSON for machines and Markdown for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finetune.component_rules import Trial
from swin_unetr.config_io import to_dict
from swin_unetr.evaluation.report.results import ALL_STRUCTURES, EvaluationResult
from swin_unetr.evaluation.statistics import Summary, mean_defined, mean_over_patients
from swin_unetr.evaluation.wording import scans_of_patients
from swin_unetr.files import write_json, write_text
from swin_unetr.model_description import ComponentRule
from swin_unetr.provenance import command, commit, versions
from swin_unetr.words import count, decimal, interval

CROSS_VALIDATION, SUMMARY = "cross_validation.json", "cross_validation.md"


@dataclass(frozen=True, kw_only=True)
class FoldRun:
    """The training of one fold."""

    fold: int
    #: Its run folder, within that of the cross-validation.
    folder: str
    #: The cases that it did not see.
    cases: tuple[str, ...]
    epochs: int
    seconds: float
    #: Epoch of its model, from 1: the last one, unless the training collapsed (`swin_unetr.training.choice`).
    best_epoch: int
    #: Mean over structures and cases, on the network's grid.
    validation_dice: float

    @classmethod
    def of(cls, fold: int, folder: str, cases: Sequence[str], record: Mapping[str, Any]) -> FoldRun:
        """From the record of its run."""
        best = record["best"]
        dice = best["scores"].get("val/dice")
        return cls(
            fold=fold,
            folder=folder,
            cases=tuple(cases),
            epochs=record["epochs"],
            seconds=record["seconds"],
            best_epoch=best["epoch"],
            validation_dice=math.nan if dice is None else dice,
        )


@dataclass(frozen=True, kw_only=True)
class CrossValidationResult:
    """The result of a cross-validation."""

    run_folder: Path
    folds: tuple[FoldRun, ...]
    #: Of all cases, each predicted by the model that did not see it, without post-processing.
    evaluation: EvaluationResult
    #: What is removed from predictions from now on.
    rules: tuple[ComponentRule, ...]
    #: All rules that were tried.
    trials: tuple[Trial, ...]

    def dice_of_fold(self, fold: FoldRun) -> float:
        """Mean over the patients of a fold of the mean over the structures of their cases."""
        by_case: dict[str, list[float]] = {case: [] for case in fold.cases}
        for row in self.evaluation.rows:
            if row.metric == "dice" and row.status != "failed" and row.case in by_case:
                by_case[row.case].append(row.value)
        means = {case: mean_defined(values) for case, values in by_case.items()}
        return mean_over_patients(means, self.evaluation.patients)

    @property
    def cases(self) -> str:
        """How many cases were evaluated, and of how many patients, in words."""
        return scans_of_patients(len(self.evaluation.evaluated), self.evaluation.number_of_patients)

    def summaries(self) -> list[Summary]:
        """Dice of every structure, and of their mean."""
        return [summary for summary in self.evaluation.summary if summary.metric == "dice"]

    def summary(self) -> str:
        """The closing lines of the command."""
        whole = self.evaluation.summary_of(ALL_STRUCTURES)
        parts = ", ".join(f"{each.structure} {decimal(each.mean, 3)}" for each in self.summaries()[:-1])
        lines = [
            f"{count(len(self.folds), 'fold')}; out-of-fold mean Dice of {self.cases} {decimal(whole.mean)} "
            f"(95 % CI {interval(whole.ci_low, whole.ci_high, 3)}; {parts})",
            *(f"failed: {failure}" for failure in self.evaluation.failures),
            *(f"post-processing: {words}" for words in self.words_on_rules()),
            f"summary: {self.run_folder / SUMMARY}",
            f"segment with the ensemble: {command(['predict', self.run_folder, 'SCANS', '--output', 'FOLDER'])}",
        ]
        return "\n".join(lines)

    def words_on_rules(self) -> list[str]:
        """What is removed from predictions from now on, one line each."""
        if not self.rules:
            verb = "was" if len(self.trials) == 1 else "were"
            tried = f"{count(len(self.trials), 'rule')} {verb} tried, none helps enough"
            tried = tried if self.trials else "nothing was tried"
            return [f"none; {tried}"]
        return [f"{rule}; {rule.reason}" for rule in self.rules]


def write_cross_report(result: CrossValidationResult, report: str) -> None:
    """Write cross_validation.md, and last cross_validation.json, with which the folder can be used as the ensemble.

    Args:
        result: of the cross-validation.
        report: folder of the evaluation, within the run folder.
    """
    evaluation = result.evaluation
    write_text(result.run_folder / SUMMARY, _markdown(result, report))
    values = {
        "task": to_dict(evaluation.prediction_task),
        "cases": len(evaluation.evaluated) + len(evaluation.failures),
        "folds": [{**asdict(fold), "out_of_fold_dice": result.dice_of_fold(fold)} for fold in result.folds],
        "dice": {each.structure: asdict(each) for each in result.summaries()},
        "failures": [asdict(failure) for failure in evaluation.failures],
        "postprocess": [asdict(rule) for rule in result.rules],
        "tried": [{**asdict(trial), "helps": trial.helps} for trial in result.trials],
        "report": f"{report}/report.md",
        "versions": versions(),
        "commit": commit(),
    }
    write_json(result.run_folder / CROSS_VALIDATION, values)


def _markdown(result: CrossValidationResult, report: str) -> str:
    evaluation = result.evaluation
    lines = [
        f"# Cross-validation of {evaluation.prediction_task.name}",
        "",
        f"{count(len(result.folds), 'fold')}, {result.cases} evaluated, {len(evaluation.failures)} failed. "
        "Each case was predicted by the model that did not see it: that of the last epoch, unless the training "
        f"collapsed. All metrics: [{report}/report.md]({report}/report.md).",
        "",
        "| structure | mean Dice | 95 % CI | SD | evaluated | failed |",
        "|:--|--:|:-:|--:|--:|--:|",
    ]
    for each in result.summaries():
        values = f"{decimal(each.mean)} | {interval(each.ci_low, each.ci_high, 3)} | {decimal(each.std)}"
        lines.append(f"| {each.structure} | {values} | {each.evaluated} | {each.failed} |")
    lines += ["", "| fold | cases | epochs | model of epoch | mean Dice | minutes |", "|--:|--:|--:|--:|--:|--:|"]
    for fold in result.folds:
        dice, minutes = result.dice_of_fold(fold), fold.seconds / 60
        lines.append(
            f"| {fold.fold} | {len(fold.cases)} | {fold.epochs} | {fold.best_epoch} | {decimal(dice)} | {minutes:.1f} |"
        )
    lines += ["", "## Post-processing", "", *(f"- {words}" for words in result.words_on_rules())]
    if shown := [each for each in result.trials if each.better or each.worse]:
        lines += [
            "",
            "Rules that were tried and change a case (for a region: the mean with the regions within it):",
            "",
        ]
        lines += ["| rule | mean Dice | gain | 95 % CI | patients better | worse | lesions lost | helps |"]
        lines += ["|:--|:-:|--:|:-:|--:|--:|--:|:-:|"]
        lines += [
            f"| {each.rule} | {each.before:.4f} → {each.after:.4f} | {each.gain:+.4f} | "
            f"{interval(each.ci_low, each.ci_high, signed=True)} | {each.better} | {each.worse} | "
            f"{each.lost} of {each.found} | {'yes' if each.helps else 'no'} |"
            for each in shown
        ]
    return "\n".join(lines) + "\n"
