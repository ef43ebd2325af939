"""What a rule about components would do to the Dice of a case, without touching its voxels again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.model_description import ComponentRule
from swin_unetr.postprocessing.components import Labels, find_components, kept, mask_of, within
from swin_unetr.tasks import Target, Task


@dataclass(frozen=True, eq=False)
class ComponentTable:
    """The predicted components of a structure in one case, against the reference.

    Rows are the structures that a removal changes: the structure itself, and of nested regions those within it.
    """

    voxel_mm3: float
    #: Voxels of each component, (components,).
    voxels: NDArray[np.int64]
    #: Voxels of each component that are of a structure, (structures, components); ignored ones do not count.
    predicted: NDArray[np.int64]
    #: Of these, the voxels that the reference has too, (structures, components).
    shared: NDArray[np.int64]
    #: Voxels of the reference, (structures,).
    reference: NDArray[np.int64]

    def dice(self, rule: ComponentRule) -> float:
        """Mean Dice of the structures under a rule; a structure that is rightly left out counts 1."""
        stay = kept(self.voxels, rule, self.voxel_mm3)
        shared = self.shared[:, stay].sum(axis=1)
        sizes = self.predicted[:, stay].sum(axis=1) + self.reference
        return float(np.where(sizes > 0, 2 * shared / np.maximum(sizes, 1), 1.0).mean())


def tabulate(prediction: Labels, reference: Labels, task: Task, target: Target, voxel_mm3: float) -> ComponentTable:
    """Compare the components of one structure with the reference.

    Args:
        prediction: label values, X x Y x Z.
        reference: label values on the same grid.
        task: what the values of both mean.
        target: the structure.
        voxel_mm3: volume of a voxel.
    """
    structures = within(task, target)
    masks = [mask_of(reference, each.labels) for each in structures]
    sizes = np.array([mask.sum() for mask in masks], dtype=np.int64)
    components = find_components(prediction, target.labels)
    if components is None:
        nothing = np.zeros((len(structures), 0), dtype=np.int64)
        return ComponentTable(voxel_mm3, nothing[0], nothing, nothing, sizes)
    inside = prediction[components.box]
    counts = np.ones(inside.shape, np.bool_)
    if task.ignore_label is not None:
        counts = reference[components.box] != task.ignore_label

    def voxels_where(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(components.numbers[mask], minlength=components.voxels.size + 1)[1:]

    found = [mask_of(inside, each.labels) & counts for each in structures]
    return ComponentTable(
        voxel_mm3=voxel_mm3,
        voxels=components.voxels,
        predicted=np.stack([voxels_where(mask) for mask in found]),
        shared=np.stack([voxels_where(mask & truth[components.box]) for mask, truth in zip(found, masks, strict=True)]),
        reference=sizes,
    )
