"""Compares methods on the same cases: paired differences with tests, and rankings with their stability.

`scoring` says what counts, and what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.bootstrap import SEED
from swin_unetr.evaluation.comparison.paired import Difference, Pair, differences
from swin_unetr.evaluation.comparison.ranking import Ranking, Table, case_ranks, rankings
from swin_unetr.evaluation.metrics import METRICS, Metric
from swin_unetr.evaluation.report.results import ALL_STRUCTURES
from swin_unetr.evaluation.scoring import patient_indices

#: Values by case, structure and metric. A case that could not be evaluated has no key; NaN is "in neither mask".
Values = Mapping[tuple[str, str, str], float]

#: What to do with a case that some method lacks: the worst rank for that method, or left out for all.
Missing = Literal["worst", "common"]

#: The metrics that a ranking counts by default, as far as they are there. Not those of lesions, by which
#: BraTS ranks since 2023: the rules of 2025 average over the lesions found, which would reward missing one.
RANKED_BY = ("dice", "hd95_mm", "nsd")

#: Message for a case that a method neither has nor failed in.
NOT_ASKED = "is not among the cases of its evaluation; evaluate it with this case too"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of a comparison."""

    methods: tuple[str, ...]
    structures: tuple[str, ...]
    metrics: tuple[Metric, ...]
    #: Every case that some method was asked for, sorted.
    cases: tuple[str, ...]
    #: Of these, the cases that every method has.
    common: tuple[str, ...]
    #: Of these, the cases that the rankings count: at least one method has them; all have, under "common".
    ranked: tuple[str, ...]
    missing: Missing
    #: Patient by case, where it is known; a case without one counts as a patient alone.
    patients: Mapping[str, str]
    #: By method: the cases that it lacks, and why.
    lacking: Mapping[str, Mapping[str, str]]
    #: Per metric: the mean of the structures of each case where there are several, then each structure.
    differences: tuple[Difference, ...]
    rankings: tuple[Ranking, ...]
    #: Names of the metrics that the rankings count.
    ranked_by: tuple[str, ...]
    #: By metric: methods x cases x structures, NaN where there is no value.
    values: Mapping[str, NDArray[np.float64]] = field(repr=False)
    #: By metric, of the same shape: ranks in the ranked cases, NaN in the others and where a structure is in no mask.
    ranks: Mapping[str, NDArray[np.float64]] = field(repr=False)
    #: Cases and structures that were not looked for in the references; they count nowhere.
    left_out: frozenset[tuple[str, str]] = frozenset()

    @property
    def not_looked_for(self) -> dict[str, int]:
        """In how many of the cases a structure was not looked for, of the structures that have some."""
        numbers = {of: sum((case, of) in self.left_out for case in self.cases) for of in self.structures}
        return {name: number for name, number in numbers.items() if number}

    def number_of_patients(self, cases: Collection[str]) -> int:
        """How many patients some of the cases are of."""
        return len(set(patient_indices(tuple(cases), self.patients).tolist()))


def compare_values(
    methods: Mapping[str, Values],
    structures: Sequence[str],
    *,
    failures: Mapping[str, Mapping[str, str]] | None = None,
    metrics: Sequence[Metric] = METRICS,
    rank_by: Collection[str] | None = None,
    missing: Missing = "worst",
    seed: int = SEED,
    patients: Mapping[str, str] | None = None,
    not_looked_for: Collection[tuple[str, str]] = (),
) -> Comparison:
    """Compare two or more methods.

    Differences are over the cases that both of a pair have ("worst"), or that all methods have ("common").

    Args:
        methods: values by the name of the method.
        structures: names of the structures.
        failures: by method, the cases that it was asked for and failed in, with the message.
        metrics: the metrics that may be in the values; those that some method does not have are ignored.
        rank_by: names of the metrics that the rankings count. If None, `RANKED_BY`.
        missing: what to do with a case that some method lacks.
        seed: of every bootstrap.
        patients: patient by case: the unit of intervals, tests and rankings. A case without one is a patient alone.
        not_looked_for: cases and structures that no method is measured by.

    Raises:
        ConfigError: a metric to rank by that the values do not have.
    """
    names = tuple(methods)
    failed = failures or {}
    held_by = {name: {case for case, _, _ in values} for name, values in methods.items()}
    cases = sorted(set().union(*held_by.values(), *(failed.get(name, {}) for name in names)))
    held = np.array([[case in held_by[name] for case in cases] for name in names], dtype=np.bool_)
    present = set.intersection(*({metric for _, _, metric in values} for values in methods.values()))
    values = {
        metric.name: np.array(
            [
                [[of.get((case, name, metric.name), math.nan) for name in structures] for case in cases]
                for of in methods.values()
            ],
            dtype=np.float64,
        )
        for metric in metrics
        if metric.name in present
    }
    # A metric that has no value anywhere would make every rank a tie.
    shown = tuple(m for m in metrics if m.name in values and not np.isnan(values[m.name]).all())
    ranked_by = _ranked_by(rank_by, shown)
    looked_for = np.array([[(case, of) not in not_looked_for for of in structures] for case in cases], dtype=np.bool_)
    in_all: NDArray[np.bool_] = np.logical_and.reduce(held, axis=0)
    in_some: NDArray[np.bool_] = np.logical_or.reduce(held, axis=0)
    counted = in_all if missing == "common" else in_some
    tables = {m.name: Table(m, values[m.name][:, counted], held[:, counted], looked_for[counted]) for m in shown}
    ranks = {name: np.full_like(values[name], math.nan) for name in tables}
    for name, table in tables.items():
        ranks[name][:, counted] = case_ranks(table)
    usable = held & in_all if missing == "common" else held
    known = {case: patients[case] for case in cases if patients and case in patients}
    unit = patient_indices(cases, known)
    ranked_unit = patient_indices([case for case, counts in zip(cases, counted, strict=True) if counts], known)
    return Comparison(
        methods=names,
        structures=tuple(structures),
        metrics=shown,
        cases=tuple(cases),
        common=tuple(case for case, all_have in zip(cases, in_all, strict=True) if all_have),
        ranked=tuple(case for case, counts in zip(cases, counted, strict=True) if counts),
        missing=missing,
        patients=known,
        lacking={
            name: {case: failed.get(name, {}).get(case, NOT_ASKED) for case in cases if case not in held_by[name]}
            for name in names
        },
        differences=tuple(
            item
            for m in shown
            for item in _differences(m, values[m.name], usable, names, structures, seed, unit, looked_for)
        ),
        rankings=rankings(names, [tables[name] for name in ranked_by], seed, ranked_unit)
        if ranked_by and counted.any()
        else (),
        ranked_by=ranked_by,
        left_out=frozenset(not_looked_for),
        values={metric.name: values[metric.name] for metric in shown},
        ranks=ranks,
    )


def _ranked_by(wanted: Collection[str] | None, metrics: Sequence[Metric]) -> tuple[str, ...]:
    names = [metric.name for metric in metrics]
    if wanted is None:
        return tuple(name for name in names if name in RANKED_BY) or tuple(names[:1])
    if unknown := [name for name in wanted if name not in names]:
        raise ConfigError(f"rank_by: {unknown[0]!r} is not one of the metrics compared: {', '.join(names)}")
    return tuple(name for name in names if name in wanted)


def _differences(
    metric: Metric,
    values: NDArray[np.float64],
    held: NDArray[np.bool_],
    names: Sequence[str],
    structures: Sequence[str],
    seed: int,
    unit: NDArray[np.int64],
    looked_for: NDArray[np.bool_],
) -> list[Difference]:
    """Differences of one metric.

    `values` are methods x cases x structures, `unit` the patient of every case, `looked_for` cases x structures.
    """

    def pairs(structure: str, of: NDArray[np.float64], known: NDArray[np.bool_]) -> list[Pair]:
        return [
            Pair(structure, names[one], names[two], of[one], of[two], held[one] & held[two], known)
            for one, two in combinations(range(len(names)), 2)
        ]

    found: list[Difference] = []
    if len(structures) > 1:
        some: NDArray[np.bool_] = np.logical_or.reduce(looked_for, axis=1)
        found += differences(metric, pairs(ALL_STRUCTURES, values, some), seed, unit)
    by_structure = [
        pair for index, name in enumerate(structures) for pair in pairs(name, values[:, :, index], looked_for[:, index])
    ]
    return found + differences(metric, by_structure, seed, unit)
