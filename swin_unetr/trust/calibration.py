"""What the signals of a model were worth on cases that it had not seen: `trust.json` and `trust.safetensors`.

Both lie in the model's folder. The JSON holds names and single numbers, the safetensors file arrays; nothing is
pickled, and reading them needs NumPy alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from swin_unetr.errors import CheckpointError
from swin_unetr.files import replacing, write_json
from swin_unetr.trust.distances import FeatureBank
from swin_unetr.trust.regression import Regression

Array = NDArray[np.float64]

TRUST_JSON, TRUST_ARRAYS = "trust.json", "trust.safetensors"
#: Raised by one when older versions of this package would misread the files.
FORMAT_VERSION = 1
#: Fewest cases, and fewest patients, that a regression is fitted to.
LEAST_CASES = 15


@dataclass(frozen=True, kw_only=True)
class StructureCalibration:
    """What is known of one structure."""

    #: Signals in the order of the regression's columns, and the regression; None if there were too few cases.
    signals: tuple[str, ...] = ()
    regression: Regression | None = None
    #: Cases in which it was found and has a Dice.
    cases: int = 0
    #: Median Dice, and a Dice that few cases are below.
    typical_dice: float = math.nan
    low_dice: float = math.nan
    #: Share of the cases whose reference has it.
    present: float = 0.0
    #: True over predicted volume: ends of the conformal interval; 0 and infinity if too few cases say more.
    volume_ratio: tuple[float, float] = (0.0, math.inf)
    #: Volumes of the references in ml: few cases are smaller than the first, or larger than the second.
    volume_range_ml: tuple[float, float] = (0.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `swin-unetr calibrate` found for one model."""

    #: SHA-256 of the weights that it is for.
    weights: str
    #: Hash of the sliding window's settings with which it was made.
    windows: str
    #: Where the cases come from, in words; how many cases and patients there were.
    source: str
    cases: int
    patients: int
    #: Probability that the Dice is below its bound, or the volume outside of its interval.
    miss: float
    #: Share of good cases that are flagged.
    false_alarms: float
    #: When, as ISO 8601.
    made: str = ""
    temperature: float = 1.0
    #: Expected calibration error of voxels before and after, each case measured at the temperature of the others.
    ece_before: float = math.nan
    ece_after: float = math.nan
    structures: Mapping[str, StructureCalibration] = field(default_factory=dict)
    #: Names of the risks, and those of the good cases: cases x risks. Empty if there were too few cases.
    risks: tuple[str, ...] = ()
    known_risks: Array = field(default_factory=lambda: np.zeros((0, 0)))
    #: Distances of the cases to the training scans, by name.
    distances: Mapping[str, Array] = field(default_factory=dict)
    bank: FeatureBank | None = None

    @property
    def decides(self) -> bool:
        """Whether there were enough cases for decisions."""
        return len(self.known_risks) > 0

    def distances_of(self, features: tuple[float, ...]) -> dict[str, float]:
        """Distances of a scan's pooled features to those of the training scans; empty if they are not known."""
        if self.bank is None or len(features) != len(self.bank.mean) or not np.isfinite(features).all():
            return {}
        return distances_to(self.bank, np.array([features]))


def distances_to(bank: FeatureBank, features: Array) -> dict[str, float]:
    """Distances of one scan's features (1 x features), by name."""
    return {"mahalanobis": float(bank.mahalanobis(features)[0]), "nearest": float(bank.nearest(features)[0])}


def save_calibration(of: Calibration, folder: Path) -> None:
    """Write both files into a model's folder, the arrays first; each is written whole or not at all."""
    arrays: dict[str, Array] = {"known_risks": of.known_risks}
    arrays |= {f"distances.{name}": values for name, values in of.distances.items()}
    if of.bank is not None:
        arrays |= {f"bank.{name}": values for name, values in vars(of.bank).items()}
    structures = {}
    for number, (name, structure) in enumerate(of.structures.items()):
        facts = {key: value for key, value in vars(structure).items() if key != "regression"}
        structures[name] = {**facts, "arrays": number}
        if structure.regression is not None:
            arrays |= {f"structure.{number}.{key}": value for key, value in vars(structure.regression).items()}
    left_out = ("known_risks", "distances", "bank", "structures")
    facts = {key: value for key, value in vars(of).items() if key not in left_out}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / TRUST_ARRAYS) as temporary:
        save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, temporary)
    write_json(folder / TRUST_JSON, {"format_version": FORMAT_VERSION, **facts, "structures": structures})


def is_calibrated(folder: Path | None) -> bool:
    """Whether a model's folder holds a calibration; a model in memory has none."""
    return folder is not None and (folder / TRUST_JSON).is_file()


def load_calibration(folder: Path) -> Calibration | None:
    """Read the calibration in a model's folder; None if there is none.

    Raises:
        CheckpointError: it is damaged, or from a newer version.
    """
    path = folder / TRUST_JSON
    if not path.is_file():
        return None
    remedy = "run swin-unetr calibrate again"
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (version := facts.pop("format_version")) > FORMAT_VERSION:
            raise CheckpointError(f"{path}: is of format {version}, which is newer; update swin-unetr, or {remedy}")
        arrays = load_file(folder / TRUST_ARRAYS)
        structures = {name: _structure(values, arrays) for name, values in facts.pop("structures").items()}
        facts["risks"] = tuple(facts["risks"])
        known: dict[str, Any] = {key: math.nan if value is None else value for key, value in facts.items()}
        return Calibration(
            **known,
            structures=structures,
            known_risks=arrays["known_risks"],
            distances=_part(arrays, "distances."),
            bank=FeatureBank(**bank) if (bank := _part(arrays, "bank.")) else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is damaged, or {TRUST_ARRAYS} is missing ({error}); {remedy}") from error


def _structure(values: dict[str, Any], arrays: Mapping[str, Array]) -> StructureCalibration:
    fitted = _part(arrays, f"structure.{values.pop('arrays')}.")
    for key in ("volume_ratio", "volume_range_ml"):
        values[key] = tuple(float(end) for end in values[key])  # infinity is written as text
    for key in ("typical_dice", "low_dice"):
        values[key] = math.nan if values[key] is None else values[key]
    values["signals"] = tuple(values["signals"])
    return StructureCalibration(**values, regression=Regression(**fitted) if fitted else None)


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
