"""The runs of label_efficiency.py: which cases, how many steps, one training with its score, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.config import FinetuneConfig, FinetuneSpeed
from finetune.leaks import seen_cases
from finetune.run import finetune
from swin_unetr.checkpoints import start_from
from swin_unetr.checkpoints.model_folder import WEIGHTS, read_description
from swin_unetr.config_io import to_dict
from swin_unetr.datasets.case import Case
from swin_unetr.datasets.folds import Folds
from swin_unetr.errors import ConfigError, DataError
from swin_unetr.evaluation.run import evaluate
from swin_unetr.files import write_json, write_text
from swin_unetr.inference.batch.run import predict
from swin_unetr.networks import build_network

#: Dice by case and structure.
Dice = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training and its score."""

    #: "scratch", or the name of an encoder.
    arm: str
    fraction: float
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.arm}_{self.fraction:g}_{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What all runs have in common."""

    config: FinetuneConfig
    data: Path
    output: Path
    cases: tuple[Case, ...]
    folds: Folds
    fold: int
    steps: int
    encoders: dict[str, Path]

    @property
    def held_back(self) -> tuple[str, ...]:
        """Ids of the cases that no training sees."""
        return self.folds.split(self.fold)[1]

    def labelled(self, fraction: float, seed: int) -> tuple[str, ...]:
        """Ids of the cases that a run is trained on."""
        order = list(self.folds.split(self.fold)[0])
        random.Random(seed).shuffle(order)
        return tuple(sorted(order[: max(1, math.ceil(fraction * len(order) - 1e-9))]))

    def config_of(self, run: Run) -> FinetuneConfig:
        """The recipe, with as many epochs as the steps need, the same share of warm-up, and validation at the end."""
        epochs = math.ceil(self.steps / self.steps_per_epoch(run))
        warmup = self.config.optimizer.warmup_epochs / self.config.trainer.max_epochs * epochs
        trainer = replace(
            self.config.trainer, max_epochs=epochs, validate_every=epochs, seed=run.seed, early_stop_patience=None
        )
        return replace(
            self.config,
            trainer=trainer,
            optimizer=replace(self.config.optimizer, warmup_epochs=warmup),
            num_folds=2,
            store=str(self.output / "store") if self.config.store == "auto" else self.config.store,
        )

    def steps_per_epoch(self, run: Run) -> int:
        """Optimiser steps of an epoch, as the training counts them."""
        batches = max(1, len(self.labelled(run.fraction, run.seed)) // self.config.sampling.scans_per_batch)
        return math.ceil(batches / self.config.trainer.accumulate_batches)

    def steps_of(self, run: Run) -> int:
        """Steps of a run: whole epochs, so perhaps a few more than requested."""
        return self.config_of(run).trainer.max_epochs * self.steps_per_epoch(run)

    def result_file(self, run: Run) -> Path:
        """File for the Dice of the held-back cases of a finished run."""
        return self.output / "results" / f"{run.name}.json"


def do(experiment: Experiment, run: Run) -> Dice:
    """Train, segment the held-back cases, evaluate, and keep the result.

    The output of the training goes to OUTPUT/logs. A stopped run goes on from its checkpoint; a finished one has no
    checkpoint any more.

    Raises:
        DataError: a held-back case could not be segmented or evaluated.
    """
    output = experiment.output
    folder, split, predictions = output / "runs" / run.name, output / "folds.json", output / "predictions" / run.name
    labelled = experiment.labelled(run.fraction, run.seed)
    subset = output / "splits" / f"{run.fraction:g}_{run.seed}.json"
    Folds(seed=run.seed, folds=(experiment.held_back, labelled)).save(subset)
    log = output / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file, redirect_stdout(file):
        finetune(
            experiment.config_of(run),
            data=experiment.data,
            output=folder,
            folds=subset,
            init=experiment.encoders.get(run.arm),
            resume=True,
        )
    report = predict(
        folder / "last",
        experiment.data,
        predictions,
        folds=split,
        fold=experiment.fold,
        progress=False,
    )
    result = evaluate(predictions, experiment.data, metrics=["dice"], folds=split, fold=experiment.fold)
    if failures := [*report.failures, *result.failures]:
        raise DataError(
            f"{run.name}: {len(failures)} cases failed; the first, {failures[0].case}: {failures[0].message}"
        )
    dice: Dice = {case: {} for case in result.evaluated}
    for row in result.rows:
        dice[row.case][row.structure] = row.value
    write_json(
        experiment.result_file(run),
        {"arm": run.arm, "fraction": run.fraction, "seed": run.seed, "labelled": labelled, "dice": dice},
    )
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return dice


def read_result(path: Path) -> Dice:
    """The result that `do` has kept.

    Raises:
        DataError: the file is damaged.
    """
    try:
        dice = json.loads(path.read_text(encoding="utf-8"))["dice"]
        return {
            case: {name: math.nan if value is None else float(value) for name, value in of.items()}
            for case, of in dice.items()
        }
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: is not the result of a run; remove it to repeat the run") from error


def write_plan(experiment: Experiment) -> None:
    """Write the split, the held-back images and the common settings; if they exist, check that they are the same.

    Raises:
        ConfigError: the folder holds an experiment with other settings, or with another encoder of the same name.
    """
    output, path = experiment.output, experiment.output / "plan.json"
    config = replace(
        experiment.config,
        speed=FinetuneSpeed(),
        store="memory",
        sampling=replace(experiment.config.sampling, num_workers=0),
        trainer=replace(experiment.config.trainer, accelerator="auto", devices="auto", strategy="auto", seed=0),
    )
    settings = {
        "data": str(experiment.data.resolve()),
        "fold": experiment.fold,
        "held_back": list(experiment.held_back),
        "training": list(experiment.folds.split(experiment.fold)[0]),
        "steps": experiment.steps,
        "config": to_dict(config),
    }
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if changed := [name for name in settings if before and before.get(name) != settings[name]]:
        raise ConfigError(f"{output}: holds runs with another {' and '.join(changed)}; choose another --output")
    encoders = dict(before.get("encoders", {}))
    for name, folder in experiment.encoders.items():
        of_weights = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        if encoders.setdefault(name, {"folder": str(folder), "sha256": of_weights})["sha256"] != of_weights:
            raise ConfigError(f"{output}: holds runs from another encoder {name!r}; name this one NEW_NAME={folder}")
    write_json(path, {**settings, "encoders": encoders})
    experiment.folds.save(output / "folds.json")
    images = [str(image.resolve()) for case in held_back_cases(experiment) for image in case.images]
    write_text(output / "held_back.txt", "".join(f"{image}\n" for image in images))


def held_back_cases(experiment: Experiment) -> list[Case]:
    """The cases that no training sees."""
    return [case for case in experiment.cases if case.id in set(experiment.held_back)]


def check_encoders(experiment: Experiment) -> list[str]:
    """Load every encoder into the network of the recipe before hours of training; returns a report.

    Raises:
        CheckpointError: an encoder does not fit the network.
        ConfigError: an encoder was pre-trained on held-back scans.
    """
    lines = []
    for name, folder in experiment.encoders.items():
        lines += [f"{name}: {start_from(build_network(experiment.config.network), folder).summary()}"]
        description = read_description(folder)
        seen = seen_cases(description.provenance, held_back_cases(experiment), experiment.data)
        if seen is None:
            lines.append(f"  {name}: does not record which scans it has seen; held-back ones should not be among them")
        if seen:
            raise ConfigError(
                f"{folder}: has seen {len(seen)} of the held-back cases ({', '.join(seen[:3])} ...); "
                f"pre-train with --exclude {experiment.output / 'held_back.txt'}"
            )
        if description.preprocess != experiment.config.preprocess:
            lines.append(f"  {name}: was pre-trained on scans preprocessed differently: {description.preprocess}")
    return lines
