"""The course of a training: step, seconds and Dice."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from swin_unetr.errors import DataError
from swin_unetr.study.results import Point

#: What another program may leave beside its predictions: a table with the columns step, seconds, dice.
PEER_CURVE = "curve.csv"


def curve_of(run: Path) -> list[Point]:
    """Of a run of this program, a point for each epoch; Dice is NaN where nothing was validated.

    Raises:
        DataError: the run has no table.
    """
    points: list[Point] = []
    seconds = 0.0
    for row in _rows(run / "metrics.csv"):
        seconds += float(row["seconds"])
        points.append((int(row["step"]), seconds, float(row["val/dice"] or math.nan)))
    if not points:
        raise DataError(f"{run / 'metrics.csv'}: holds no epoch; remove the folder to train again")
    return points


def curve_of_peer(folder: Path) -> list[Point]:
    """What another program has left of its course; empty if it left nothing.

    Raises:
        DataError: its table cannot be read.
    """
    path = folder / PEER_CURVE
    if not path.is_file():
        return []
    try:
        return [
            (int(float(row["step"])), float(row["seconds"]), float(row.get("dice") or math.nan)) for row in _rows(path)
        ]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: should have the columns step, seconds and dice, with numbers") from error


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
