"""Compares methods: from paths to a result, and its report on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from swin_unetr.errors import ConfigError
from swin_unetr.evaluation.bootstrap import SEED
from swin_unetr.evaluation.comparison.inputs import Method, check_methods, metrics_of, read_methods
from swin_unetr.evaluation.comparison.report import make_folder, write_comparison
from swin_unetr.evaluation.comparison.values import Comparison, Missing, compare_values
from swin_unetr.evaluation.lesions.rules import LESION_RULES
from swin_unetr.evaluation.metrics import choose_metrics
from swin_unetr.evaluation.patients import merged_patients, patients_in

#: Options of `evaluate` that a report has settled, with the values that ask for nothing.
_SETTLED: dict[str, Any] = {"empty": "nan", "empty_distance": None, "surface": "voxels", "lesions": None}


def compare(
    methods: Mapping[str, str | Path],
    *,
    reference: str | Path | None = None,
    output: str | Path | None = None,
    metrics: Collection[str] | None = None,
    rank_by: Collection[str] | None = None,
    missing: Missing = "worst",
    seed: int = SEED,
    patients: str | Path | None = None,
    **evaluation: Any,
) -> Comparison:
    """Compare two or more methods: paired differences with intervals and tests, and rankings; by patients.

    Args:
        methods: by name: a folder of predictions, the folder of a report that `evaluate` wrote, or its results.json.
        reference: folder of label files or data set, for folders of predictions.
        output: folder for compare.json, compare.csv, differences.csv, compare.md and compare.html. If None, nothing is
            written.
        metrics: names of the metrics. If None, those that all methods have.
        rank_by: names of the metrics that the rankings count. If None, Dice, HD95 and NSD, as far as they are there.
        missing: what to do with a case that some method lacks: this method has the worst rank there ("worst"), or the
            case is left out for all ("common").
        seed: of every bootstrap.
        patients: table with the columns case and patient. If None, what the evaluations know.
        evaluation: further options of `evaluate`, for folders of predictions.

    Raises:
        ConfigError: arguments that do not go together, or other options than those that reports were made with.
        DataError: predictions or reports that cannot be read, or that were not evaluated alike.
    """
    paths = {name: Path(path) for name, path in methods.items()}
    options = {**evaluation, "metrics": metrics, "patients": patients}
    folder = None if output is None else Path(output)
    where = None if reference is None else Path(reference)
    return compare_methods(paths, where, folder, options, rank_by=rank_by, missing=missing, seed=seed)[0]


def compare_methods(
    paths: Mapping[str, Path],
    reference: Path | None,
    output: Path | None,
    options: Mapping[str, Any],
    *,
    rank_by: Collection[str] | None,
    missing: Missing,
    seed: int,
) -> tuple[Comparison, dict[str, Method]]:
    """As `compare`; also gives the methods as they were read.

    Args:
        paths: by the name of the method.
        reference: for folders of predictions.
        output: folder of the report. If None, nothing is written.
        options: of `evaluate`.
        rank_by: names of the metrics that the rankings count.
        missing: what to do with a case that some method lacks.
        seed: of every bootstrap.
    """
    if len(paths) < 2:
        raise ConfigError("methods: two or more are needed to compare")
    if seed < 0:
        raise ConfigError(f"seed: must not be negative, got {seed}")
    metrics = options.get("metrics")
    choose_metrics(metrics, options.get("empty_distance"))
    if output is not None:
        make_folder(output)
    methods = read_methods(paths, reference, options)
    check_methods(methods)
    policy = max((method.policy for method in methods.values()), key=lambda policy: policy["lesions"] is not None)
    _refuse_ignored(options, policy)
    shared = metrics_of(methods.values(), metrics)
    result = compare_values(
        {name: method.values for name, method in methods.items()},
        next(iter(methods.values())).structures,
        failures={name: method.failures for name, method in methods.items()},
        metrics=choose_metrics(
            metrics or shared,
            policy["empty_distance"],
            policy["surface"],
            LESION_RULES.get(policy["lesions"]),
        ),
        rank_by=rank_by,
        missing=missing,
        seed=seed,
        patients=_patients(methods, options.get("patients")),
        not_looked_for=frozenset().union(*(method.not_looked_for for method in methods.values())),
    )
    if output is not None:
        write_comparison(result, methods, seed, output)
    return result, methods


def _patients(methods: Mapping[str, Method], table: str | Path | None) -> Mapping[str, str]:
    if table is None:
        return merged_patients((name, method.patients) for name, method in methods.items())
    return patients_in(Path(table), sorted({case for of in methods.values() for case in (*of.cases, *of.failures)}))


def _refuse_ignored(options: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    """Refuse a policy that is asked for, and that the reports were not made with."""
    for name, nothing in _SETTLED.items():
        wanted = options.get(name, nothing)
        if wanted not in (nothing, policy[name] or "none"):
            option = name.replace("_", "-")
            raise ConfigError(
                f"{name}: the reports were made with --{option} {policy[name]}, not {wanted}; make new ones"
            )
