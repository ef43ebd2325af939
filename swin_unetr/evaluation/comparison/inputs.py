"""What compare is given: folders of predictions, which it evaluates, or reports that evaluate has written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swin_unetr.config_io import from_dict, to_dict
from swin_unetr.datasets.folds import select_cases
from swin_unetr.datasets.names import patients_by_names
from swin_unetr.datasets.side_files import known_ids
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.evaluation.comparison.values import NOT_ASKED
from swin_unetr.evaluation.inputs.label_tasks import ANY_BRATS, NoTaskError
from swin_unetr.evaluation.report.results import EvaluationResult
from swin_unetr.suggestions import near_names
from swin_unetr.tasks import BRATS_AFTER_TREATMENT, BRATS_CONVENTIONS, Task

#: Name of the file that makes a folder a report.
REPORT = "results.json"
#: Status of the rows that have a value, or have none since the structure is in neither mask.
_MEASURED = ("evaluated", "both_empty")


@dataclass(frozen=True, kw_only=True)
class Method:
    """An evaluated method."""

    path: Path
    #: Values by case, structure and metric, of the cases that could be evaluated.
    values: Mapping[tuple[str, str, str], float]
    #: Cases that it was asked for and could not be evaluated, with the message.
    failures: Mapping[str, str]
    structures: tuple[str, ...]
    #: What its labels mean, as `run.evaluate` takes it.
    task: Task | str
    #: Names of its metrics.
    metrics: tuple[str, ...]
    #: How empty masks, surfaces, tolerances and lesions were treated; of the rules of lesions the name, or None.
    policy: Mapping[str, Any]
    #: Where the predictions and references lie, as in results.json.
    inputs: Mapping[str, Any]
    #: SHA-256 of "prediction" and "reference" by case.
    sha256: Mapping[str, Mapping[str, str]] = field(repr=False)
    #: Patient by case, where it is known.
    patients: Mapping[str, str] = field(default_factory=dict)
    #: How the grid of a prediction differed from its reference's, by case, where it was resampled.
    resampled: Mapping[str, str] = field(default_factory=dict)
    #: Cases and structures that were not looked for in the reference; they have no values.
    not_looked_for: frozenset[tuple[str, str]] = frozenset()

    @property
    def cases(self) -> set[str]:
        """Cases that were evaluated."""
        return {case for case, _, _ in self.values}


def read_methods(paths: Mapping[str, Path], reference: Path | None, options: Mapping[str, Any]) -> dict[str, Method]:
    """Evaluate folders of predictions, and read reports, by the name of the method.

    If neither predictions nor a data set say what the labels mean, they are read as those of the first method that
    says it.

    Args:
        paths: folder of predictions, folder of a report, or its results.json, by name.
        reference: where the references of predictions lie.
        options: those of `run.evaluate`. A report takes only its selection of cases and of metrics from them.

    Raises:
        ConfigError: predictions without a reference, or labels whose meaning no method says.
        DataError: no such path, not a report of ours, or not one case to evaluate.
    """
    methods: dict[str, Method] = {}
    silent: dict[str, NoTaskError] = {}
    for name, path in paths.items():
        try:
            methods[name] = _read_method(path, reference, options)
        except NoTaskError as error:
            silent[name] = error
    for name, unknown in silent.items():
        if not methods:
            raise unknown
        methods[name] = _read_method(paths[name], reference, {**options, "task": next(iter(methods.values())).task})
    return {name: methods[name] for name in paths}


def _read_method(path: Path, reference: Path | None, options: Mapping[str, Any]) -> Method:
    report = path / REPORT if path.is_dir() else path
    if report.name == REPORT and report.is_file():
        return _of_report(report, options)
    if not path.exists():
        raise DataError(f"{path}: no such folder; check the path")
    if reference is None:
        raise ConfigError(f"reference: {path} is not a report, so --reference must say where the references lie")

    from swin_unetr.evaluation.run import evaluate

    return _of_result(path, evaluate(path, reference, **{**options, "patients": None}))


def check_methods(methods: Mapping[str, Method]) -> None:
    """Refuse to compare what was not measured alike.

    Raises:
        DataError: other structures, policies or references, or no case that all have.
    """
    (name, first), *others = methods.items()
    for _, other in others:
        if sorted(other.structures) != sorted(first.structures):
            raise DataError(
                f"{other.path}: its structures ({', '.join(other.structures)}) are not those of {name} "
                f"({', '.join(first.structures)}); evaluate both with the same --task or --labels"
            )
        if words := _first_difference(first.policy, other.policy):
            raise DataError(
                f"{other.path}: was evaluated with another policy than {name} ({words}); evaluate both with the same"
            )
        for case in sorted(first.sha256.keys() & other.sha256.keys()):
            if first.sha256[case]["reference"] != other.sha256[case]["reference"]:
                raise DataError(
                    f"{other.path}: case {case} has another reference than for {name} (their SHA-256 differ); "
                    "evaluate both against the same references"
                )
        if odd := _looked_for_otherwise(first, other):
            raise DataError(
                f"{other.path}: {odd} was looked for in one evaluation, and not in the other ({name}); evaluate "
                "both with the same tables beside the references"
            )
        if not first.cases & other.cases:
            near = near_names(first.cases, other.cases)
            raise DataError(
                f"{other.path}: no case in common with {name}{near}; name the cases alike and evaluate again"
            )
    if not set.intersection(*(method.cases for method in methods.values())):
        raise DataError(f"{first.path}: no case that all {len(methods)} methods have; compare fewer of them")


def _looked_for_otherwise(one: Method, other: Method) -> str:
    """A structure and a case of both that only one of two evaluations leaves out; empty if there is none."""
    both = one.cases & other.cases
    odd = sorted(cell for cell in one.not_looked_for ^ other.not_looked_for if cell[0] in both)
    return f"{odd[0][1]} of case {odd[0][0]}" if odd else ""


def metrics_of(methods: Iterable[Method], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the metrics that all methods have, in the first one's order.

    Raises:
        ConfigError: a wanted metric that some report does not have.
    """
    first, *others = methods
    shared = tuple(name for name in first.metrics if all(name in other.metrics for other in others))
    if missing := [name for name in wanted or () if name not in shared]:
        raise ConfigError(f"metrics: not every report has {missing[0]!r}; they share {', '.join(shared)}")
    return shared


def _of_result(path: Path, result: EvaluationResult) -> Method:
    rules = result.lesion_rules
    return Method(
        path=path,
        values={(row.case, row.structure, row.metric): row.value for row in result.rows if row.status in _MEASURED},
        failures={failure.case: failure.message for failure in result.failures},
        structures=tuple(target.name for target in result.reference_task.targets),
        task=_task_for_others(result.prediction_task),
        metrics=tuple(metric.name for metric in result.metrics),
        policy=_policy(result.empty, to_dict(result.distances), None if rules is None else rules.name),
        inputs=result.inputs,
        sha256=result.sha256,
        patients=result.patients,
        resampled=result.resampled,
        not_looked_for=frozenset((case, name) for case, names in result.not_looked_for.items() for name in names),
    )


def _of_report(report: Path, options: Mapping[str, Any]) -> Method:
    selected = select_cases(options.get("folds"), options.get("fold"), options.get("cases"))
    try:
        results = json.loads(report.read_text(encoding="utf-8"))
        rules = results["policy"]["lesions"]
        if selected is not None:
            selected = known_ids(selected, {row["case"] for row in results["rows"]})
        rows = [row for row in results["rows"] if selected is None or row["case"] in selected]
        failures = {
            item["case"]: str(item["message"])
            for item in results["cases"]["failed"]
            if selected is None or item["case"] in selected
        }
        values = {
            (row["case"], row["structure"], row["metric"]): float("nan" if row["value"] is None else row["value"])
            for row in rows
            if row["status"] in _MEASURED
        }
        left_out = frozenset((row["case"], row["structure"]) for row in rows if row["status"] == "not_looked_for")
        method = Method(
            path=report.parent,
            values=values,
            failures=failures,
            structures=tuple(target["name"] for target in results["reference_task"]["targets"]),
            task=_task_for_others(from_dict(Task, results["prediction_task"], source=str(report))),
            metrics=tuple(dict.fromkeys(row["metric"] for row in rows)),
            policy=_policy(results["policy"]["empty"], results["policy"]["distances"], rules and rules["name"]),
            inputs=dict(results["inputs"]),
            sha256={case: dict(of) for case, of in results["sha256"].items() if selected is None or case in selected},
            patients=_patients(results),
            resampled={
                case: str(how) for case, how in results["resampled"].items() if selected is None or case in selected
            },
            not_looked_for=left_out,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(f"{report}: is not a result of evaluate ({reason}); evaluate again") from error
    for case in set(selected or ()) - method.cases - failures.keys():
        failures[case] = NOT_ASKED
    if not method.cases:
        evaluated = {row["case"] for row in results["rows"] if row["status"] in _MEASURED}
        near = "" if selected is None else near_names(set(selected), evaluated)
        raise DataError(f"{report}: holds no evaluated case that was asked for{near}; check --cases, or evaluate again")
    return method


def _patients(results: Mapping[str, Any]) -> dict[str, str]:
    """Patient by case; for a report of an earlier version, inferred from the names of its cases."""
    if "patients" not in results:
        return patients_by_names({row["case"] for row in results["rows"]})
    return {str(case): str(patient) for case, patient in results["patients"].items()}


def _task_for_others(task: Task) -> Task | str:
    """Another folder may have the BraTS label values of another year: they are inferred from the data again."""
    return ANY_BRATS if task.name in (*BRATS_CONVENTIONS, BRATS_AFTER_TREATMENT) else task


def _policy(empty: str, distances: Mapping[str, Any], lesions: str | None) -> dict[str, Any]:
    return {"empty": empty, **distances, "lesions": lesions}


def _first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first difference of two policies, in words, or "". A policy without lesions does not differ in lesions."""
    for key in dict.fromkeys([*one, *other]):
        pair = one.get(key), other.get(key)
        if pair[0] != pair[1] and not (key == "lesions" and None in pair):
            return f"{key}: {pair[0]} and {pair[1]}"
    return ""
