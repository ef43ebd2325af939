"""Learns from out-of-fold predictions which components to remove from a prediction.

A rule is taken if the patients show that it helps, so clearly that others are likely to show it too. Each structure
starts without a rule. Of the candidates that pass `Trial.helps` (keep only the largest component; remove components
below one of a few volumes) the one that gains most is taken; then the other kind is tried on top of it. The scores are
of the very cases that the rule was chosen by, so its gain is a little too good; the thresholds keep noise out.

A rule must not cost a lesion. One is tried only if it would leave nearly all references whole (`SPARED`), and is
taken only if every component of a reference that was found is still found with it. So a structure that has several
lesions in a patient rarely has a rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from swin_unetr.evaluation.bootstrap import SEED, mean_interval
from swin_unetr.evaluation.inputs.cases import Pair
from swin_unetr.evaluation.measures.measure import read_pair
from swin_unetr.evaluation.scoring import patient_means
from swin_unetr.machine import cores
from swin_unetr.model_description import ComponentRule
from swin_unetr.postprocessing.components import clean
from swin_unetr.postprocessing.effect import ComponentTable, tabulate
from swin_unetr.tasks import Target, Task

#: Volumes that are tried, as far as the components of the references allow.
CANDIDATES_MM3 = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
#: A rule is tried only if it leaves the references of this share of the patients with the structure as they are: it may
#: help weak predictions, but must not remove what good ones have right.
SPARED = 0.95
#: Least gain in mean Dice that is worth a rule.
LEAST_GAIN = 0.001
#: Least number of patients that it must make better: four could be by chance, one time in sixteen.
LEAST_BETTER = 5
#: It must make this many times as many patients better as worse.
BETTER_PER_WORSE = 3
#: Differences up to this are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A rule against another one, on the same patients. Of several cases of a patient the mean counts."""

    rule: ComponentRule
    patients: int
    #: Mean Dice of the structure (of a region with those within it) without and with the rule.
    before: float
    after: float
    #: Ends of the 95 % interval of the mean difference; see `bootstrap.mean_interval`.
    ci_low: float
    ci_high: float
    better: int
    worse: int
    #: Components of all references, those found without the rule, and those of them that are no longer found with it.
    lesions: int
    found: int
    lost: int

    @property
    def gain(self) -> float:
        """Difference of the means."""
        return self.after - self.before

    @property
    def helps(self) -> bool:
        """Whether the rule is taken: it gains enough, surely enough, and not at the cost of others or of a lesion."""
        return (
            self.lost == 0
            and self.gain >= LEAST_GAIN
            and self.ci_low > 0
            and self.better >= LEAST_BETTER
            and self.better >= BETTER_PER_WORSE * self.worse
        )

    def __str__(self) -> str:
        return (
            f"mean Dice {self.before:.4f} -> {self.after:.4f} ({self.gain:+.4f}, 95 % interval {self.ci_low:+.4f} to "
            f"{self.ci_high:+.4f}) over {self.patients} out-of-fold patients, better in {self.better}, worse in "
            f"{self.worse}; finds {self.found - self.lost} of {self.lesions} components of the references, as before"
        )


def learn_rules(
    pairs: Sequence[Pair],
    task: Task,
    *,
    patients: Mapping[str, str] | None = None,
    left_out: Collection[tuple[str, str]] = (),
    workers: int = 0,
) -> tuple[list[ComponentRule], list[Trial]]:
    """The rules that help, and all that was tried.

    Exclusive classes do not touch each other and are learnt at once; nested regions from the outside to the inside,
    each on predictions that the rules so far have cleaned.

    Args:
        pairs: prediction and reference of every case.
        task: of the predictions.
        patients: patient by case, for cases whose patient is known; another case is a patient of its own.
        left_out: cases and structures that were not looked for in them: they say nothing of a rule.
        workers: threads that read; 0 takes a few.

    Raises:
        DataError: a label file that cannot be read, or two that do not lie on one grid.
    """
    rules: list[ComponentRule] = []
    trials: list[Trial] = []
    of_cases = [(patients or {}).get(pair.case, f"case {pair.case}") for pair in pairs]
    regions = [[task.targets[index]] for index in task.painting_order]
    for targets in regions if task.activation == "sigmoid" else [list(task.targets)]:
        with ThreadPoolExecutor(workers or min(4, cores())) as pool:
            cases = list(pool.map(lambda pair: list(_tables(pair, task, targets, tuple(rules))), pairs))  # noqa: B023
        for target, tables in zip(targets, zip(*cases, strict=True), strict=True):
            counted = [index for index, pair in enumerate(pairs) if (pair.case, target.name) not in left_out]
            rule, tried = choose_rule(target.name, [tables[at] for at in counted], [of_cases[at] for at in counted])
            trials += tried
            rules += [] if rule is None else [rule]
    return rules, trials


def choose_rule(
    structure: str, tables: Sequence[ComponentTable], patients: Sequence[str] | None = None
) -> tuple[ComponentRule | None, list[Trial]]:
    """The rule of one structure, or None, and what was tried.

    Args:
        structure: its name.
        tables: its components in every case.
        patients: of every case. If None, each case is a patient of its own.
    """
    of = np.unique(range(len(tables)) if patients is None else patients, return_inverse=True)[1]
    rule, reasons, tried = ComponentRule(structure=structure), [], []
    while further := [each for each in _further(rule) if _spares(each, tables, of)]:
        trials = [_try(each, rule, tables, of) for each in further]
        tried += trials
        helping = [trial for trial in trials if trial.helps]
        if not helping:
            break
        best = max(helping, key=lambda trial: trial.gain)  # of equal gains the first, which removes least
        rule = best.rule
        reasons.append(str(best))
    return (replace(rule, reason="; then ".join(reasons)) if reasons else None), tried


def _further(rule: ComponentRule) -> list[ComponentRule]:
    """The rule, extended by each candidate for what it does not say yet."""
    bounded = [] if rule.min_volume_mm3 else [replace(rule, min_volume_mm3=volume) for volume in CANDIDATES_MM3]
    return [*bounded, *([] if rule.largest_only else [replace(rule, largest_only=True)])]


def _spares(rule: ComponentRule, tables: Sequence[ComponentTable], of: NDArray[np.intp]) -> bool:
    """Whether the references of nearly all patients who have the structure stay whole under a rule."""
    having = {int(patient) for patient, table in zip(of, tables, strict=True) if table.reference[0]}
    hurt = {int(patient) for patient, table in zip(of, tables, strict=True) if not table.spares_reference(rule)}
    return bool(having) and len(hurt) <= (1 - SPARED) * len(having)


def _try(
    rule: ComponentRule, instead_of: ComponentRule, tables: Sequence[ComponentTable], of: NDArray[np.intp]
) -> Trial:
    rules = instead_of, rule
    before, after = (patient_means(np.array([table.dice(each) for table in tables]), of) for each in rules)
    found, still = (np.concatenate([table.found(each) for table in tables]) for each in (instead_of, rule))
    gains: NDArray[np.float64] = after - before
    low, high = mean_interval(gains, np.random.default_rng(SEED))
    return Trial(
        rule=rule,
        patients=len(gains),
        before=float(before.mean()),
        after=float(after.mean()),
        ci_low=low,
        ci_high=high,
        better=int((gains > _ROUNDING).sum()),
        worse=int((gains < -_ROUNDING).sum()),
        lesions=len(found),
        found=int(found.sum()),
        lost=int((found & ~still).sum()),
    )


def _tables(
    pair: Pair, task: Task, targets: Sequence[Target], rules: Sequence[ComponentRule]
) -> Iterator[ComponentTable]:
    labels = read_pair(pair)
    voxel_mm3 = 1000 * labels.voxel_ml
    prediction = np.array(labels.prediction) if rules else labels.prediction
    clean(prediction, rules, task, voxel_mm3)
    for target in targets:
        yield tabulate(prediction, labels.reference, task, target, voxel_mm3)
