"""What a cell leaves: the settings that it was made with, its result, or why it failed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swin_unetr.errors import ConfigError, DataError
from swin_unetr.files import write_json
from swin_unetr.study.cells import Cell

#: The metrics of a study, by their names in `evaluation.metrics`.
METRICS = ("dice", "nsd", "hd95_mm")
#: In the folder of a cell.
SETTINGS, RESULT, FAILURE, LOG = "cell.json", "result.json", "failure.json", "log.txt"
#: Value by case and structure.
Table = Mapping[str, Mapping[str, float]]
#: Step, seconds since the start of the training, Dice.
Point = tuple[int | None, float, float]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished cell."""

    #: Ids of the labelled cases that it was trained on, and of the test cases.
    training: tuple[str, ...]
    test: tuple[str, ...]
    #: Values of the test cases by metric.
    values: Mapping[str, Table]
    #: Steps of the training; None if another program does not say them.
    steps: int | None
    #: Seconds of the training; of another program that leaves no curve, of its whole command.
    seconds: float
    #: The learning rate that was chosen, and the Dice that each one reached; None and empty without a search.
    rate: float | None = None
    tried: Mapping[str, float] = field(default_factory=dict)
    #: Dice of some test cases in the course of the training.
    curve: tuple[Point, ...] = ()
    #: Whether another program has trained.
    foreign: bool = False


@dataclass(frozen=True, kw_only=True)
class CellFailure:
    """Why a cell could not be done."""

    #: In one line.
    cause: str
    log: str
    #: Last lines of the log.
    tail: tuple[str, ...] = ()


def folder_of(output: Path, cell: Cell) -> Path:
    """The folder of a cell."""
    return output / "runs" / cell.id


def write_result(folder: Path, result: Result) -> None:
    """Write the result, which makes the cell a finished one."""
    write_json(folder / RESULT, asdict(result))
    (folder / FAILURE).unlink(missing_ok=True)


def read_result(folder: Path) -> Result | None:
    """The result of a cell; None if it is not finished.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        tables = {
            metric: {case: {name: _number(value) for name, value in of.items()} for case, of in cases.items()}
            for metric, cases in values.pop("values").items()
        }
        curve = tuple((step, float(seconds), _number(dice)) for step, seconds, dice in values.pop("curve"))
        ids: dict[str, Any] = {name: tuple(values.pop(name)) for name in ("training", "test")}
        tried = {rate: _number(dice) for rate, dice in values.pop("tried").items()}
        return Result(values=tables, curve=curve, tried=tried, **ids, **values)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: is not the result of a cell; remove its folder to repeat the cell") from error


def read_failure(folder: Path) -> CellFailure | None:
    """Why a cell failed; None if it did not."""
    try:
        values = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        return CellFailure(cause=values["cause"], log=values["log"], tail=tuple(values["tail"]))
    except (OSError, ValueError, KeyError):
        return None


def write_failure(folder: Path, failure: CellFailure) -> None:
    """Write why a cell failed; the same command tries it again."""
    write_json(folder / FAILURE, asdict(failure))


def changed_settings(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ from those that a cell was begun with; empty for a new cell.

    Raises:
        DataError: the record of the cell is damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        return []
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return [name for name in {**settings, **before} if before.get(name) != settings.get(name)]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: is not the record of a cell; remove its folder to repeat the cell") from error


def refuse_changed(output: Path, settings: Mapping[Cell, Mapping[str, Any]]) -> None:
    """Refuse a study whose finished cells were made with other settings.

    Args:
        output: of the study.
        settings: of every cell.

    Raises:
        ConfigError: names the first such cell, and what differs.
    """
    changed = {
        cell: names
        for cell, of in settings.items()
        if (folder_of(output, cell) / RESULT).is_file() and (names := changed_settings(folder_of(output, cell), of))
    }
    if changed:
        cell, names = next(iter(changed.items()))
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ConfigError(
            f"{folder_of(output, cell)}{more}: was made with another {' and '.join(names)}; give the changed arm a new "
            "name, remove the folder to repeat the cell, or choose another --output"
        )


def begin(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder of a cell; one that was begun with other settings and not finished is set aside."""
    if changed_settings(folder, settings):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.before-{number}")).exists():
            number += 1
        folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).unlink(missing_ok=True)
    write_json(folder / SETTINGS, dict(settings))


def _number(value: Any) -> float:
    """A number as `write_json` writes it: NaN is null, infinity "inf"."""
    return math.nan if value is None else float(value)
