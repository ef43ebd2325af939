"""The options that evaluate and compare share: defined once, and handed to `run.evaluate` in one way."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swin_unetr.config_io import CommandParser
from swin_unetr.errors import ConfigError
from swin_unetr.machine import cores


def add_evaluation_arguments(parser: CommandParser) -> None:
    """Add what says which cases are evaluated, what their labels mean, and by which metrics and policies."""
    parser.add_argument(
        "--task",
        help="what the labels mean: btcv, brats (the year is recognised from the data), brats2013, brats2021, "
        "brats2023, brats2024 (after treatment), or a model folder, run folder, model.json or dataset.json; by default "
        "what the predictions or the data set say",
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        metavar="NAME=VALUE",
        help="values by name instead; NAME=VALUE,VALUE for a region of several",
    )
    parser.add_argument("--folds", type=Path, help="split file (folds.json); with --fold: its validation cases only")
    parser.add_argument("--fold", type=int, help="which fold of --folds, from 0")
    parser.add_argument("--cases", nargs="+", metavar="ID", help="these cases only")
    parser.add_argument(
        "--empty",
        choices=("nan", "brats"),
        default="nan",
        help="Dice of a structure in neither mask: nan (undefined, counted apart) or brats (1, and implies "
        "--empty-distance penalty)",
    )
    parser.add_argument(
        "--empty-distance",
        choices=("inf", "diagonal", "penalty"),
        help="distances where one mask is empty: infinite, the diagonal of the scan, or BraTS' penalty (374 mm); "
        "default: penalty under --empty brats, otherwise inf",
    )
    parser.add_argument(
        "--surface",
        choices=("voxels", "area"),
        default="voxels",
        help="what surfaces are made of for distances and NSD: voxels, as in MONAI, or elements weighted by their "
        "area, as DeepMind's surface-distance",
    )
    parser.add_argument(
        "--resample-prediction",
        action="store_true",
        help="resample a prediction on another grid to its reference's, nearest neighbour, and note it in the report; "
        "what lies outside the reference's grid counts as invented. Without this option, its case fails",
    )
    parser.add_argument(
        "--tolerance-mm",
        nargs="+",
        default=["2"],
        metavar="MM|NAME=MM",
        help="tolerance of the normalised surface Dice: one number, or by structure (2 mm for those not named)",
    )
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="these metrics only, such as dice hd95_mm nsd")
    parser.add_argument(
        "--lesions",
        metavar="RULES",
        help="score lesions by these rules: brats2023[-men|-met], brats2024[-ssa|-ped], brats2025, or components for "
        "any structures; none scores no lesions (default: brats2025 for BraTS, none otherwise)",
    )
    parser.add_argument(
        "--patients",
        type=Path,
        metavar="FILE",
        help="CSV with the columns case and patient: patients are the unit of means, intervals, tests and rankings; "
        "default: as the data set, a patients.csv beside the references, or the names of the cases say",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(4, cores()),
        help="cases read and measured at a time; the result does not depend on it",
    )


def evaluation_options(arguments: Namespace) -> dict[str, Any]:
    """Keyword arguments of `run.evaluate` that the parsed options ask for.

    Raises:
        ConfigError: options that do not go together, or a tolerance that is no number.
    """
    from swin_unetr.evaluation.inputs.label_tasks import parse_labels

    if arguments.task is not None and arguments.labels is not None:
        raise ConfigError("labels: --task and --labels both say what the labels mean; give one of them")
    return {
        "task": arguments.task if arguments.labels is None else parse_labels(arguments.labels),
        "folds": arguments.folds,
        "fold": arguments.fold,
        "cases": arguments.cases,
        "empty": arguments.empty,
        "empty_distance": arguments.empty_distance,
        "surface": arguments.surface,
        "resample_prediction": arguments.resample_prediction,
        "tolerance_mm": _tolerances(arguments.tolerance_mm),
        "metrics": arguments.metrics,
        "lesions": arguments.lesions,
        "patients": arguments.patients,
        "workers": arguments.workers,
    }


def _tolerances(words: Sequence[str]) -> float | dict[str, float]:
    """One number, or numbers by name."""
    try:
        if len(words) == 1 and "=" not in words[0]:
            return float(words[0])
        pairs = (word.rpartition("=") for word in words)
        return {name: float(number) for name, _, number in pairs}
    except ValueError:
        raise ConfigError(f"tolerance_mm: {' '.join(words)!r} is neither a number nor NAME=MM; correct it") from None
