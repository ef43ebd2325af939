"""What is written: the structures of a result that are there, and who made them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.dicom.terminology import find_term
from swin_unetr.tasks import Task, Term


@dataclass(frozen=True)
class Structure:
    """A structure of a result.

    Attributes:
        name: as the task has it.
        values: of the label map that belong to it.
        term: its codes and its colour.
    """

    name: str
    values: tuple[int, ...]
    term: Term

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Its colour, each part from 0 to 255."""
        red, green, blue = bytes.fromhex(self.term.colour[1:])
        return red, green, blue

    def mask(self, labels: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Where it is, in the shape of the labels."""
        return np.isin(labels, self.values)


@dataclass(frozen=True)
class Maker:
    """The algorithm, as DICOM names it.

    Attributes:
        name: of the model's task.
        version: of this program.
        weights: SHA-256 of each model's weights; empty if it is not known.
    """

    name: str
    version: str
    weights: tuple[str, ...] = ()


def structures_of(task: Task) -> tuple[Structure, ...]:
    """The structures of a task, in its order; the regions of nested ones overlap."""
    written = {target.write_as for target in task.targets}
    return tuple(
        Structure(
            target.name,
            (target.write_as,) if task.activation == "softmax" else tuple(sorted(written.intersection(target.labels))),
            find_term(target.name, task),
        )
        for target in task.targets
    )


def split_by_presence(
    structures: tuple[Structure, ...], labels: NDArray[np.integer]
) -> tuple[tuple[Structure, ...], tuple[Structure, ...]]:
    """Those that have a voxel, and those that have none."""
    held = set(np.unique(labels).tolist())
    there = tuple(one for one in structures if not held.isdisjoint(one.values))
    return there, tuple(one for one in structures if one not in there)
