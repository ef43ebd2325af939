"""Calibrates a trained model on cases that it has not seen: what its signals say about the Dice of a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetune.calibration_cases import Measured, MeasuredCases
from finetune.config import FinetuneConfig
from finetune.opening import open_data
from swin_unetr.config_io import from_dict, load
from swin_unetr.datasets.case import Case, Dataset
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.inference.engine.method import windows_key
from swin_unetr.inference.predictor import Predictor
from swin_unetr.provenance import now
from swin_unetr.tasks import Task
from swin_unetr.training.run_record import RECORD, read_record
from swin_unetr.trust.calibration import LEAST_CASES, Calibration, distances_to, save_calibration
from swin_unetr.trust.distances import LEAST_SCANS, FeatureBank
from swin_unetr.trust.fit import KnownCase, fit_structure, held_out_predictions, known_risks
from swin_unetr.trust.temperature import expected_calibration_error, fit_temperature, tempered_rows
from swin_unetr.words import count, decimal

#: Folder in a run folder: what was measured of each case, so that a stopped calibration goes on.
CASES = "calibration"


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """The result of a calibration."""

    #: Model folders that received it.
    folders: tuple[Path, ...]
    #: That of the first; the others differ in the features of their own training scans.
    calibration: Calibration
    #: Mean Dice of each case, true and predicted without its patient; NaN where nothing is predicted.
    true_dice: tuple[float, ...]
    predicted_dice: tuple[float, ...]

    def summary(self) -> str:
        """The closing lines of the command."""
        of = self.calibration
        lines = [
            f"calibrated on {count(of.cases, 'case')} of {count(of.patients, 'patient')}: {of.source}",
            f"temperature {of.temperature:.3f}; expected calibration error of voxels {decimal(of.ece_before)} before, "
            f"{decimal(of.ece_after)} after",
        ]
        pairs = np.array([self.true_dice, self.predicted_dice])
        pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
        if pairs.shape[1] > 2 and (pairs.std(axis=1) > 0).all():
            error = float(np.abs(pairs[0] - pairs[1]).mean())
            lines.append(
                f"predicted without its patient, the mean Dice of a case correlates with the true one by "
                f"{np.corrcoef(pairs)[0, 1]:.2f}; mean absolute error {error:.3f}"
            )
        if not of.decides:
            lines.append(
                f"no decisions and no predicted Dice: {LEAST_CASES} cases of {LEAST_CASES} patients are needed"
            )
        return "\n".join([*lines, *(f"written: {folder / 'trust.json'}" for folder in self.folders)])


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """One trained model, the cases that it has not seen, and some of those that it was trained on."""

    folder: Path
    predictor: Predictor
    unseen: tuple[Case, ...]
    trained: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What of a model goes into its calibration."""

    folder: Path
    weights: str
    windows: str
    bank: FeatureBank | None


def calibrate(
    run: Path | str,
    *,
    data: Path | str | None = None,
    miss: float = 0.1,
    false_alarms: float = 0.1,
    training_scans: int = 40,
    progress: Callable[[str], None] = print,
    **options: Any,
) -> CalibrationResult:
    """Calibrate the models of a run on cases that they have not seen, and write the result into their folders.

    Each case is predicted once more, to collect its signals; of a cross-validation by the model of its fold. What was
    measured of a case is kept in `calibration/` of the run, so that the same call goes on where one was stopped.

    Args:
        run: a finished fine-tuning of one fold, or a cross-validation.
        data: folder of the scans and labels. If None, where they were in training.
        miss: probability that a Dice is below its bound, or a volume outside of its interval.
        false_alarms: share of good cases that may be flagged for review.
        training_scans: of how many training scans of each model features are kept; 0 keeps none.
        progress: takes lines for people.
        options: of `Predictor`, such as device, backend, tta.

    Raises:
        ConfigError: shares that make no sense, or a run without held-back cases.
        DataError: scans or records that cannot be used.
        CheckpointError: a model that cannot be used.
    """
    for name, share in (("miss", miss), ("false_alarms", false_alarms)):
        if not 0 < share < 0.5:
            raise ConfigError(f"{name}: must lie between 0 and 0.5, got {share}")
    if training_scans < 0:
        raise ConfigError(f"training_scans: must not be negative, got {training_scans}")
    folders, records = _folds(Path(run))
    dataset, task = _open(folders[0], records[0], data)
    cases: list[KnownCase] = []
    seen: list[Measured] = []
    models: list[_Model] = []
    for folder, record in zip(folders, records, strict=True):
        fold = _fold(folder, record, dataset, training_scans, options)
        files = MeasuredCases(folder / CASES, fold.predictor, task)
        bank = _bank(files, fold, progress)
        (member,) = fold.predictor.ensemble.members
        windows = windows_key(member.inference)
        models.append(_Model(folder=fold.folder, weights=member.weights, windows=windows, bank=bank))
        for number, case in enumerate(fold.unseen, 1):
            progress(f"{folder.name}: unseen case {number}/{len(fold.unseen)} {case.id}")
            found = files.measured(case)
            seen.append(found)
            cases.append(_with_distances(found, case, dataset.groups.get(case.id, case.id), bank))
    return _write(cases, seen, models, task, miss, false_alarms)


def _folds(run: Path) -> tuple[list[Path], list[dict[str, Any]]]:
    """The run folders of the folds, and their records.

    Raises:
        ConfigError: it is no run, is not finished, or holds no case back.
    """
    folders = sorted(run.glob("fold_*"), key=lambda path: (len(path.name), path.name)) or [run]
    records = []
    for folder in folders:
        if not (folder / RECORD).is_file() or not (folder / "best" / "model.json").is_file():
            raise ConfigError(f"run: {folder} is no finished run of finetune (no {RECORD} or best/); check the path")
        record = read_record(folder / RECORD)
        if record.get("kind") != "finetune" or record.get("fold") in (None, "all"):
            raise ConfigError(
                f"run: {folder} held no case back, so that nothing says how good it is on others; train with --fold K "
                "or --folds all"
            )
        records.append(record)
    return folders, records


def _open(folder: Path, record: Mapping[str, Any], data: Path | str | None) -> tuple[Dataset, Task]:
    where = record["data"] if data is None else str(data)
    task = from_dict(Task, record["task"], source=str(folder / RECORD)) if isinstance(where, str) else None
    paths = [Path(where)] if isinstance(where, str) else [Path(each) for each in where]
    config = load(FinetuneConfig, folder / "config.yaml")
    _, dataset, found = open_data(config, paths, task)
    return dataset, found


def _fold(
    folder: Path, record: Mapping[str, Any], dataset: Dataset, training_scans: int, options: Mapping[str, Any]
) -> _Fold:
    by_id = {case.id: case for case in dataset.cases}
    if lost := [name for name in record["validation"] if name not in by_id]:
        raise DataError(f"{dataset.root}: has no case {lost[0]}, which {folder} held back; name its data with --data")
    trained = [name for name in record["training"] if name in by_id]
    every = max(1, math.ceil(len(trained) / training_scans)) if training_scans else len(trained) + 1
    kept = trained[::every] if training_scans else []
    best = folder / "best"
    return _Fold(
        folder=best,
        predictor=Predictor(best, signals=True, **options),
        unseen=tuple(by_id[name] for name in record["validation"]),
        trained=tuple(by_id[name] for name in kept),
    )


def _bank(files: MeasuredCases, fold: _Fold, progress: Callable[[str], None]) -> FeatureBank | None:
    """The features of some training scans; None if there are too few, or the backend gives none."""
    features = []
    for number, case in enumerate(fold.trained, 1):
        progress(f"{fold.folder.parent.name}: training scan {number}/{len(fold.trained)} {case.id}")
        (found,) = files.signals(case).features
        if not found:
            progress("this network or backend gives no features; scans are not compared with those of training")
            return None
        features.append(found)
    return FeatureBank.of(np.array(features)) if len(features) >= LEAST_SCANS else None


def _with_distances(found: Measured, case: Case, patient: str, bank: FeatureBank | None) -> KnownCase:
    (features,) = found.signals.features
    return KnownCase(
        case=case.id,
        patient=patient,
        signals=found.signals,
        distances={} if bank is None or not features else distances_to(bank, np.array([features])),
        dice=found.dice,
        reference_ml=found.reference_ml,
    )


def _write(
    cases: Sequence[KnownCase],
    seen: Sequence[Measured],
    models: Sequence[_Model],
    task: Task,
    miss: float,
    false_alarms: float,
) -> CalibrationResult:
    structures = {target.name: fit_structure(target.name, cases, miss) for target in task.targets}
    risks, known = known_risks(cases, structures)
    names = [name for name in cases[0].distances if all(name in case.distances for case in cases)]
    common: dict[str, Any] = {
        "source": f"out-of-fold cases of {len(models)} folds"
        if len(models) > 1
        else "the validation cases of one fold",
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "miss": miss,
        "false_alarms": false_alarms,
        "made": now(),
        **_temperature(seen, [case.patient for case in cases], task),
        "structures": structures,
        "risks": risks,
        "known_risks": known,
        "distances": {name: np.array([case.distances[name] for case in cases]) for name in names},
    }
    written = []
    for model in models:
        written.append(Calibration(weights=model.weights, windows=model.windows, bank=model.bank, **common))
        save_calibration(written[-1], model.folder)
    predicted = held_out_predictions(cases, structures)
    return CalibrationResult(
        folders=tuple(model.folder for model in models),
        calibration=written[0],
        true_dice=tuple(case.mean_dice for case in cases),
        predicted_dice=tuple(float(np.mean([*each.values()])) if each else math.nan for each in predicted),
    )


def _temperature(seen: Sequence[Measured], patients: Sequence[str], task: Task) -> dict[str, float]:
    """The temperature of all cases, and the calibration error before and after: of each half by that of the other."""
    probabilities, truth = (
        np.concatenate(of) for of in zip(*((each.sample, each.truth) for each in seen), strict=True)
    )
    order = list(dict.fromkeys(patients))
    half = np.concatenate(
        [np.full(len(each.sample), order.index(patient) % 2) for each, patient in zip(seen, patients, strict=True)]
    )
    after = np.array(probabilities, np.float64)
    for part in (0, 1):
        others = fit_temperature(probabilities[half != part], truth[half != part], task.activation)
        after[half == part] = tempered_rows(after[half == part], others, task.activation)
    errors = []
    for each in (probabilities, after):
        if task.activation == "softmax":
            errors.append(expected_calibration_error(each.max(axis=1), each.argmax(axis=1) == truth))
        else:
            sure = np.maximum(each, 1 - each).ravel()
            errors.append(expected_calibration_error(sure, ((each > 0.5) == (truth == 1)).ravel()))
    temperature = fit_temperature(probabilities, truth, task.activation)
    return {"temperature": temperature, "ece_before": errors[0], "ece_after": errors[1]}
