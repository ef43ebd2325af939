"""What lies over a scan: label maps by one numbering of classes, and where a prediction errs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from swin_unetr.evaluation.report.pictures import COLOURS
from swin_unetr.tasks import Task
from transforms.geometry import Geometry

#: How an error is numbered: its kind times the number of classes, plus the class.
MISSED, INVENTED, CONFUSED = range(3)


@dataclass(frozen=True)
class Class:
    """A structure as the viewer lists it; classes are numbered from 1 in their order."""

    name: str
    #: #rrggbb.
    colour: str


def number_classes(
    layers: Sequence[NDArray[Any]], tasks: Sequence[Task | None]
) -> tuple[tuple[Class, ...], list[NDArray[Any]]]:
    """One numbering for the label maps of a case, of the classes that occur in it.

    Args:
        layers: label values X x Y x Z.
        tasks: what the values of each layer mean, with structures that share names; inner regions lie over outer ones.
            Values outside the task, or without one, become classes named after the value.

    Returns:
        The classes, and the layers with the number of the class in every voxel, 0 where there is none.
    """
    counts = [np.bincount(layer.ravel()) for layer in layers]
    names: list[str] = list(dict.fromkeys(target.name for task in tasks if task for target in task.targets))
    by_value = [
        {int(value): _name(int(value), task) for value in np.flatnonzero(count) if value}
        for count, task in zip(counts, tasks, strict=True)
    ]
    others = sorted({(value, name) for table in by_value for value, name in table.items() if name not in names})
    names += [name for _, name in dict.fromkeys(others)]
    present = {name for table in by_value for name in table.values()}
    classes = tuple(Class(name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(names) if name in present)
    index = {entry.name: number for number, entry in enumerate(classes, 1)}
    kind = np.min_scalar_type(3 * len(classes))
    numbered = []
    for layer, count, table in zip(layers, counts, by_value, strict=True):
        lookup = np.zeros(count.size, kind)
        for value, name in table.items():
            lookup[value] = index[name]
        numbered.append(lookup[layer])
    return classes, numbered


def _name(value: int, task: Task | None) -> str:
    """The innermost structure that a label value belongs to."""
    found = f"label {value}"
    if task is not None:
        for place in task.painting_order:
            if value in task.targets[place].labels:
                found = task.targets[place].name
    return found


def error_map(prediction: NDArray[Any], reference: NDArray[Any], classes: int) -> NDArray[Any]:
    """Where two numbered maps differ: missed and confused under the reference's class, invented under its own.

    Returns:
        X x Y x Z: 0 where they agree, else kind (`MISSED`, `INVENTED`, `CONFUSED`) times `classes` plus the class.
    """
    # Of the type that `number_classes` chose, which holds three times the classes.
    errors = np.where(
        prediction == 0,
        reference + MISSED * classes,
        np.where(reference == 0, prediction + INVENTED * classes, reference + CONFUSED * classes),
    )
    return np.where(prediction == reference, 0, errors).astype(reference.dtype)


def centres_mm(numbered: NDArray[Any], geometry: Geometry) -> dict[int, list[float]]:
    """A voxel of each number that lies nearest the centre of what it marks, in RAS millimetres."""
    found = {}
    for number, box in enumerate(ndimage.find_objects(numbered), 1):
        if box is None:
            continue
        voxels = np.argwhere(numbered[box] == number)
        nearest = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
        place = nearest + [part.start for part in box]
        found[number] = [float(value) for value in geometry.affine[:3, :3] @ place + geometry.affine[:3, 3]]
    return found
