"""What decides the result of a cell, as plain values: a cell with other settings is another cell."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetune.recipes import find_recipe
from swin_unetr.config_io import read_yaml
from swin_unetr.study.cells import Cell
from swin_unetr.study.config import ArmConfig, PredictionConfig, StudyConfig
from swin_unetr.study.data import StudyData
from swin_unetr.study.recipes import is_planned
from swin_unetr.study.splits import labelled
from swin_unetr.study.unlabelled import scans_of


def settings_of(study: StudyConfig, cell: Cell, data: StudyData) -> dict[str, Any]:
    """The settings of a cell, as JSON has them.

    Raises:
        CheckpointError: weights to start from that do not exist.
    """
    arm, fold = study.arms[cell.arm], data.folds[cell.fold]
    settings = {
        "arm": _of_arm(arm),
        "budget": asdict(study.budget),
        "training cases": labelled(fold.training, cell.labels, cell.seed, data.patients),
        "test cases": fold.test,
        "tolerance_mm": study.tolerance_mm,
    }
    if arm.command is None:
        settings["prediction"] = asdict(prediction_of(study, arm))
        settings["curve"] = (study.curve_cases, study.curve_points)
        settings["rates"] = asdict(study.rates) if study.rates.values else None
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


def prediction_of(study: StudyConfig, arm: ArmConfig) -> PredictionConfig:
    """How an arm segments the test cases: what it does not say is as the study has it."""
    own = {name: value for name, value in asdict(arm.prediction).items() if value is not None}
    return PredictionConfig(**{**asdict(study.prediction), **own})


def _of_arm(arm: ArmConfig) -> dict[str, Any]:
    if arm.command is not None:
        return {"command": arm.command}
    settings: dict[str, Any] = {
        "recipe": arm.recipe if is_planned(arm) else read_yaml(find_recipe(arm.recipe)),
        "overrides": arm.overrides,
        "init": None if arm.init is None else _weights_hash(Path(arm.init)),
    }
    if arm.unlabelled is not None:  # cells of older studies do not have it
        settings["unlabelled"] = sorted(str(image) for case in scans_of(arm.unlabelled) for image in case.images)
    return settings


@lru_cache
def _weights_hash(path: Path) -> str:
    from swin_unetr.checkpoints.starting_point import starting_point

    return starting_point(path).sha256
