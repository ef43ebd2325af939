"""Everything that an evaluation looks at, found and paired before the first file is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swin_unetr.datasets.folds import select_cases
from swin_unetr.datasets.side_files import known_ids
from swin_unetr.evaluation.inputs.cases import Pairing, Predictions, find_predictions, find_references, pair_cases
from swin_unetr.evaluation.inputs.images import find_images
from swin_unetr.evaluation.inputs.label_tasks import TaskArgument, find_labels
from swin_unetr.evaluation.inputs.looked_for import LookedFor, settle_looked_for
from swin_unetr.evaluation.inputs.options import Options
from swin_unetr.evaluation.inputs.reading import Tasks
from swin_unetr.evaluation.lesions.rules import LesionRules
from swin_unetr.evaluation.measures.measure import label_values
from swin_unetr.evaluation.metrics import Metric
from swin_unetr.evaluation.patients import find_patients


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which cases are asked for; without a selection every reference is."""

    folds: str | Path | None = None
    fold: int | None = None
    cases: Iterable[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Pairs of files, what their labels mean, and what is known of the cases."""

    pairing: Pairing
    tasks: Tasks
    metrics: tuple[Metric, ...]
    lesion_rules: LesionRules | None
    #: Which structures count in each case.
    looked_for: LookedFor
    #: Patient by case, where it is known.
    patients: Mapping[str, str]
    patient_notes: tuple[str, ...]
    #: First channel of the scan by case, for the pictures.
    images: Mapping[str, Path]
    image_notes: tuple[str, ...]
    #: Where all of it comes from, for the report.
    sources: Mapping[str, Any]


def find_inputs(
    predictions: Path,
    references: Path,
    selection: Selection,
    options: Options,
    task: TaskArgument,
    patients: str | Path | None,
    images: str | Path | None,
) -> Inputs:
    """Find and pair all that `evaluate` is asked for.

    Raises:
        ConfigError: arguments that do not fit each other, or no task is found.
        DataError: a path that does not exist or holds nothing, or not one case in common.
    """
    cases = select_cases(selection.folds, selection.fold, selection.cases)
    predicted = find_predictions(predictions)
    selected = _selected(cases, predicted)
    found = find_references(references, predicted.cases.union(selected or ()))
    labels = find_labels(task, predictions, found.task)
    rules = options.lesion_rules(labels.task)
    metrics = options.chosen_metrics(rules)
    pairing = pair_cases(predicted, found, selected)
    evaluated = {pair.case for pair in pairing.pairs}
    asked = sorted(evaluated.union(failure.case for failure in pairing.failures))
    known, patient_notes = find_patients(_path(patients), references, found.patients, asked)
    scans, image_notes = find_images(_path(images), references, evaluated)
    recent = any(pair.case.startswith("BraTS-") for pair in pairing.pairs)
    values = label_values(pairing.pairs, options.workers) if labels.told_from_data else ()
    tasks = labels.tasks(values, recent=recent)
    return Inputs(
        pairing=pairing,
        tasks=tasks,
        looked_for=settle_looked_for(found.labelled, tasks.reference, asked, references),
        metrics=metrics,
        lesion_rules=rules,
        patients=known,
        patient_notes=(*patient_notes, *labels.notes),
        images=scans,
        image_notes=image_notes,
        sources={
            "predictions": str(predictions.absolute()),
            "references": str(references.absolute()),
            "task": labels.source,
            "folds": _words(selection.folds),
            "fold": selection.fold,
            "patients": _words(patients),
            "cases": list(selected) if selection.cases is not None and selected is not None else None,
        },
    )


def _selected(cases: tuple[str, ...] | None, predicted: Predictions) -> tuple[str, ...] | None:
    """The ids that are asked for, as the predictions spell them; None for all."""
    if cases is not None:
        return known_ids(cases, predicted.cases)
    return None if predicted.path.is_dir() else tuple(predicted.labels)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _words(given: str | Path | None) -> str | None:
    return None if given is None else str(Path(given).absolute())
