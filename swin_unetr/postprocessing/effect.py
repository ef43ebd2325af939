"""What a rule about components would do to the Dice and the lesions of a case, without touching its voxels again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swin_unetr.model_description import ComponentRule
from swin_unetr.postprocessing.components import Components, Labels, find_components, kept, mask_of, within
from swin_unetr.tasks import Target, Task

_NOTHING = np.zeros(0, dtype=np.int64)


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
    #: Voxels of each component of the reference, by structure.
    lesions: tuple[NDArray[np.int64], ...]
    #: Which of them share a voxel with which predicted component, by structure: (components of the reference,
    #: predicted components).
    touched: tuple[NDArray[np.bool_], ...]

    def dice(self, rule: ComponentRule) -> float:
        """Mean Dice of the structures under a rule; a structure that is rightly left out counts 1."""
        stay = kept(self.voxels, rule, self.voxel_mm3)
        shared = self.shared[:, stay].sum(axis=1)
        sizes = self.predicted[:, stay].sum(axis=1) + self.reference
        return float(np.where(sizes > 0, 2 * shared / np.maximum(sizes, 1), 1.0).mean())

    def found(self, rule: ComponentRule) -> NDArray[np.bool_]:
        """Which components of the reference are still found under a rule, of all structures one after the other."""
        stay = kept(self.voxels, rule, self.voxel_mm3)
        return np.concatenate([each[:, stay].any(axis=1) for each in self.touched])

    def spares_reference(self, rule: ComponentRule) -> bool:
        """Whether a rule would leave the reference as it is, if it were a prediction."""
        return bool(kept(self.lesions[0], rule, self.voxel_mm3).all())


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
    known = [find_components(reference, each.labels) for each in structures]
    lesions = tuple(_NOTHING if each is None else each.voxels for each in known)
    sizes = np.array([voxels.sum() for voxels in lesions], dtype=np.int64)
    components = find_components(prediction, target.labels)
    if components is None:
        nothing = np.zeros((len(structures), 0), dtype=np.int64)
        untouched = tuple(np.zeros((len(voxels), 0), dtype=np.bool_) for voxels in lesions)
        return ComponentTable(voxel_mm3, nothing[0], nothing, nothing, sizes, lesions, untouched)
    inside = prediction[components.box]
    counts = np.ones(inside.shape, np.bool_)
    if task.ignore_label is not None:
        counts = reference[components.box] != task.ignore_label
    found = [mask_of(inside, each.labels) & counts for each in structures]
    shared = [_shared(components, mask, each) for mask, each in zip(found, known, strict=True)]
    predicted = [np.bincount(components.numbers[mask], minlength=components.voxels.size + 1)[1:] for mask in found]
    return ComponentTable(
        voxel_mm3=voxel_mm3,
        voxels=components.voxels,
        predicted=np.stack(predicted),
        shared=np.stack([each.sum(axis=0) for each in shared]),
        reference=sizes,
        lesions=lesions,
        touched=tuple(each > 0 for each in shared),
    )


def _shared(components: Components, mask: NDArray[np.bool_], known: Components | None) -> NDArray[np.int64]:
    """Voxels that components of the reference share with predicted ones, (of the reference, predicted).

    Args:
        components: predicted.
        mask: the voxels of their box that count.
        known: those of the reference; None if there are none.
    """
    predicted = components.voxels.size
    if known is None:
        return np.zeros((0, predicted), dtype=np.int64)
    ours, theirs = _overlap(components.box, known.box), _overlap(known.box, components.box)
    rows, columns = known.numbers[theirs], components.numbers[ours]
    both = mask[ours] & (rows > 0)  # empty where the boxes do not meet
    codes = (rows[both].astype(np.int64) - 1) * predicted + columns[both] - 1
    return np.bincount(codes, minlength=known.voxels.size * predicted).reshape(-1, predicted)


def _overlap(box: tuple[slice, ...], other: tuple[slice, ...]) -> tuple[slice, ...]:
    """What two boxes share, counted from the start of the first."""
    first = [max(one.start, two.start) for one, two in zip(box, other, strict=True)]
    stop = [max(at, min(one.stop, two.stop)) for at, one, two in zip(first, box, other, strict=True)]
    return tuple(slice(low - one.start, high - one.start) for low, high, one in zip(first, stop, box, strict=True))
